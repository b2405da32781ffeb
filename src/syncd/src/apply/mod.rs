//! Changing the cache: one thread per source, which owns its writer.

pub(crate) mod applier;
pub(crate) mod error;
mod guard;
mod liveness;
mod memory;
pub(crate) mod new_state;
pub(crate) mod queue;
pub(crate) mod source_cache;
mod worker;
