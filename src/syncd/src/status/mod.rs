//! What the daemon says of itself: `status.json`, metrics, and systemd's status line. Nothing here is read to decide.

pub(crate) mod conflicts;
mod facts;
pub(crate) mod metrics;
pub(crate) mod store;
