//! What the program can be asked to do.

pub(crate) mod check;
pub(crate) mod compare;
mod contact;
pub(crate) mod owner;
pub(crate) mod run;
pub(crate) mod sync_once;
