//! What pushkeys' daemons have in common, so that they behave alike: where the log goes, what the service manager is told,
//! where Prometheus reads, how long to wait before trying again, and how operators write times.
//!
//! It knows nothing of keys, and no setting of either daemon.

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
