//! Rules for every page: its time, the rate limit, and the security headers.

use std::time::Duration;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER, VARY, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;

use super::messages::fill;
use super::state::Console;
use super::visitor::Visitor;

/// How long a page may take, including its wait for a password check.
const PAGE_TIME_MAX: Duration = Duration::from_secs(20);

/// Only our own files, and no page in a frame. Forms lead to our own pages only, also when they are redirected.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Serves a page within its limits, and adds the headers.
pub(super) async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(visitor) = Visitor::from_request_parts(&mut parts, &console).await;
    let mut response = if let Some(refusal) = check(&console, &visitor, &parts) {
        refusal
    } else {
        let page = next.run(Request::from_parts(parts, body));
        timeout(PAGE_TIME_MAX, page).await.unwrap_or_else(|_| {
            tracing::error!("a page failed: it took too long");
            visitor.refused(StatusCode::SERVICE_UNAVAILABLE, visitor.texts().unavailable)
        })
    };
    let headers = response.headers_mut();
    let fixed = [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        // With `no-referrer`, browsers would not send the origin of forms.
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
        (VARY, HeaderValue::from_static("accept-language, cookie")),
    ];
    headers.extend(fixed);
    response
}

fn check(console: &Console, visitor: &Visitor, request: &axum::http::request::Parts) -> Option<Response> {
    let texts = visitor.texts();
    if let Some(Err(wait_s)) = visitor.address.map(|address| console.limits.check_address(address)) {
        let why = fill(texts.too_many_requests, &[("seconds", &wait_s.to_string())]);
        let mut refusal = visitor.refused(StatusCode::TOO_MANY_REQUESTS, &why);
        refusal.headers_mut().insert(RETRY_AFTER, wait_s.into());
        return Some(refusal);
    }
    let is_served = console.site.serves(request);
    (!is_served).then(|| visitor.refused(StatusCode::MISDIRECTED_REQUEST, texts.not_set_up))
}
