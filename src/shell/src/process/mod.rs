//! Starting processes and seeing them end: programs that run within a limit, and git while its client is served.

pub(crate) mod program;
mod signals;
pub(crate) mod supervise;
