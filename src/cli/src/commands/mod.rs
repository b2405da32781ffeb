//! The commands, each in a file of its own.

pub(crate) mod accept;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod revoke;
pub(crate) mod session_log;
pub(crate) mod show;
pub(crate) mod sshd;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod verify;
