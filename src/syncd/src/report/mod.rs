//! What a key service is told of this host.

pub(crate) mod acknowledgement;
pub(crate) mod reporter;
pub(crate) mod usage;
