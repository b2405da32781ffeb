//! Requests to key services, and the credentials that they show.

pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod http;
