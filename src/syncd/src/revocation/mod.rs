//! What is revoked on this host.

pub(crate) mod keeper;
