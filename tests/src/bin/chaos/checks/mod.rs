//! What must hold all the time, each watched by threads of its own.

pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod logins;
pub(crate) mod resources;
