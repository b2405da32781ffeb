//! Checks that hold all the time, each in its own threads.

pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod logins;
pub(crate) mod resources;
