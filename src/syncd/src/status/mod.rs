//! What the daemon says of itself.

pub(crate) mod conflicts;
pub(crate) mod metrics;
pub(crate) mod store;
