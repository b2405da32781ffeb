//! Reports to key services: the changes that are applied on this host, the keys that are used here, what is revoked here
//! alone, and the host keys of its sshd. A source never waits for any of them.

pub(crate) mod acknowledgement;
pub(crate) mod host_keys;
pub(crate) mod reporter;
pub(crate) mod usage;
