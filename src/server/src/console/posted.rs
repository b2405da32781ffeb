//! Forms, which are only accepted from our own pages.

use std::time::Duration;

use axum::RequestExt as _;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::ORIGIN;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

use super::state::Console;
use super::visitor::{SignedIn, Visitor};
use pushkeys_keys::KEY_TEXT_BYTES_MAX;

/// The header by which browsers say which site a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The longest form in bytes: the longest key with every byte as `%xx`, and the other fields.
const FORM_BYTES_MAX: usize = 3 * KEY_TEXT_BYTES_MAX + 16 * 1024;
/// How long a browser may take to send a form.
const FORM_TIME_MAX: Duration = Duration::from_secs(10);
/// The most fields of a form.
const FIELDS_MAX: usize = 32;

/// The fields of a form.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of the field `name`, or an empty text.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
}

/// A form of a signed-in user.
pub(super) struct Posted {
    pub(super) by: SignedIn,
    pub(super) fields: Fields,
}

/// A form without a session, and so without a CSRF token.
pub(super) struct PostedSignedOut {
    pub(super) by: Visitor,
    pub(super) fields: Fields,
}

impl FromRequest<Console> for Posted {
    type Rejection = Response;

    async fn from_request(mut request: Request, console: &Console) -> Result<Self, Response> {
        let by = request.extract_parts_with_state::<SignedIn, _>(console).await?;
        let fields = read(request, console, &by.visitor).await?;
        let is_ours = bool::from(fields.get("csrf").as_bytes().ct_eq(by.csrf.as_bytes()));
        if !is_ours {
            return Err(by.visitor.refused(StatusCode::FORBIDDEN, by.texts().csrf));
        }
        Ok(Self { by, fields })
    }
}

impl FromRequest<Console> for PostedSignedOut {
    type Rejection = Response;

    async fn from_request(mut request: Request, console: &Console) -> Result<Self, Response> {
        let Ok(by) = request.extract_parts_with_state::<Visitor, _>(console).await;
        let fields = read(request, console, &by).await?;
        Ok(Self { by, fields })
    }
}

async fn read(request: Request, console: &Console, by: &Visitor) -> Result<Fields, Response> {
    let (parts, body) = request.into_parts();
    if !is_from_here(console, &parts) {
        return Err(by.refused(StatusCode::FORBIDDEN, by.texts().csrf));
    }
    let body = timeout(FORM_TIME_MAX, to_bytes(body, FORM_BYTES_MAX)).await;
    let body = body.map_err(|_| by.refused(StatusCode::REQUEST_TIMEOUT, by.texts().unavailable))?;
    // The only other error is a broken connection.
    let body = body.map_err(|_| by.refused(StatusCode::PAYLOAD_TOO_LARGE, by.texts().too_large))?;
    Ok(Fields(form_urlencoded::parse(&body).into_owned().take(FIELDS_MAX).collect()))
}

/// Whether one of our pages sent the request. Browsers say so in one or both of two headers, which pages cannot change.
fn is_from_here(console: &Console, request: &Parts) -> bool {
    let headers = &request.headers;
    let site = headers.get(SEC_FETCH_SITE).map(|site| site == "same-origin");
    // Privacy settings and extensions make it `null`; then the other header says it.
    let origin = headers.get(ORIGIN).filter(|origin| *origin != "null" || site.is_none());
    let origin = origin.map(|origin| console.site.is_origin(origin, request));
    [site, origin].iter().all(|says| *says != Some(false)) && (site, origin) != (None, None)
}
