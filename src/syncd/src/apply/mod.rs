//! What changes the cache: one thread per source, which owns its writer.

pub(crate) mod applier;
pub(crate) mod liveness;
mod worker;
