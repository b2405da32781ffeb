//! The origin of the console.

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use crate::origin::Origin;

/// The configured origin of the console, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Site(pub(super) Option<Origin>);

impl Site {
    /// Whether cookies can be restricted to TLS.
    pub(super) fn is_https(&self) -> bool {
        self.0.as_ref().is_some_and(Origin::is_https)
    }

    /// Whether `request` is served: without a configured origin, only from this machine.
    pub(super) fn serves(&self, request: &Parts) -> bool {
        self.0.is_some() || local_origin(&request.headers, request).is_some()
    }

    /// The origin of the console for the browser of `request`.
    pub(super) fn origin(&self, request: &Parts) -> Option<Origin> {
        self.0.clone().or_else(|| local_origin(&request.headers, request))
    }

    pub(super) fn is_origin(&self, origin: &HeaderValue, request: &Parts) -> bool {
        self.origin(request).is_some_and(|own| own.is(origin))
    }
}

/// The origin of a request to this machine by its own name or address. Another name that resolves to it does not count.
fn local_origin(headers: &HeaderMap, request: &Parts) -> Option<Origin> {
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST)?.to_str().ok()?,
    };
    let origin: Origin = format!("http://{host}").parse().ok()?;
    origin.is_loopback().then_some(origin)
}
