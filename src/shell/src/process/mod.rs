//! Starts processes and waits for them: programs with a time limit, those of a hook, and git while it serves a
//! client.

pub(crate) mod descendants;
pub(crate) mod program;
pub(crate) mod relay;
mod signals;
pub(crate) mod supervise;
