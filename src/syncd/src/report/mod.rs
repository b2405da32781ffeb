//! What a key service is told of this host: the changes that are applied here, the keys that are used here, and what is
//! revoked here alone. A source never waits for any of it.

pub(crate) mod acknowledgement;
pub(crate) mod reporter;
pub(crate) mod usage;
