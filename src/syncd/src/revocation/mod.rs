//! What is revoked on this host: lifted once the key services agree, and kept in a list for sshd where one is configured.

mod accounts;
pub(crate) mod answers;
pub(crate) mod keeper;
mod key_list;
