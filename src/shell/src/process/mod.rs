//! Starting processes and seeing them end: programs that run within a limit, those of a hook, and git while its client
//! is served.

pub(crate) mod descendants;
pub(crate) mod program;
pub(crate) mod relay;
mod signals;
pub(crate) mod supervise;
