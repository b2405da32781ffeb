//! Reports to key services: the changes that are applied on this host, the keys that are used here, and what is revoked here
//! alone. A source never waits for any of them.

pub(crate) mod acknowledgement;
pub(crate) mod reporter;
pub(crate) mod usage;
