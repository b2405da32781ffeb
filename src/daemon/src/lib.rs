//! What pushkeys' daemons share: the log, notifications for the service manager, the metrics endpoint, backoff, and the
//! notation of periods.
//!
//! It has no knowledge of keys or of a daemon's settings.

#![forbid(unsafe_code)]

#[cfg(feature = "service")]
mod backoff;
#[cfg(feature = "service")]
pub mod log;
#[cfg(feature = "service")]
pub mod metrics;
mod period;
#[cfg(feature = "service")]
pub mod service_manager;

#[cfg(feature = "service")]
pub use backoff::Backoff;
pub use period::{ParsePeriodError, Period, PeriodOrNever};
