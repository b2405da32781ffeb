//! Redirects to external services and back, bound together by a cookie.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum_extra::extract::cookie::CookieJar;

use super::messages::fill;
use super::pages::{self, Page, RedirectPage};
use super::state::Console;
use super::visitor::{Visitor, with_cookie};

/// As for sessions, see [`super::visitor`].
const SECURE_COOKIE: &str = "__Host-pushkeys_attempt";
const LOCAL_COOKIE: &str = "pushkeys_attempt";
/// How long an attempt is valid, in seconds.
const LIFETIME_S: i64 = 600;

/// The origin of the console for the browser of a request: `https://console.example.com`.
pub(super) struct ConsoleOrigin(pub(super) String);

impl FromRequestParts<Console> for ConsoleOrigin {
    type Rejection = Response;

    async fn from_request_parts(request: &mut Parts, console: &Console) -> Result<Self, Response> {
        if let Some(origin) = console.site.origin(request) {
            return Ok(Self(origin.as_str().to_owned()));
        }
        let Ok(visitor) = Visitor::from_request_parts(request, console).await;
        Err(visitor.refused(StatusCode::MISDIRECTED_REQUEST, visitor.texts().not_set_up))
    }
}

/// The cookie that the browser comes back with, or an empty text.
pub(super) struct AttemptCookie(pub(super) String);

impl FromRequestParts<Console> for AttemptCookie {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(request: &mut Parts, console: &Console) -> Result<Self, Self::Rejection> {
        let jar = CookieJar::from_headers(&request.headers);
        let cookie = jar.get(cookie_name(console));
        Ok(Self(cookie.map(|cookie| cookie.value().to_owned()).unwrap_or_default()))
    }
}

/// A page that continues to `url` by itself, since the content policy allows no form to be redirected to another site
/// (see `headers`).
pub(super) fn leave(console: &Console, page: Page, service: &str, url: String, cookie: &str) -> Response {
    let title = fill(page.t.redirecting, &[("name", service)]);
    let response = pages::render(StatusCode::OK, &RedirectPage { page, title, url });
    with_cookie(console, cookie_name(console), cookie, LIFETIME_S, response)
}

/// Removes the cookie, since an attempt is completed once.
pub(super) fn arrived(console: &Console, response: Response) -> Response {
    with_cookie(console, cookie_name(console), "", 0, response)
}

fn cookie_name(console: &Console) -> &'static str {
    if console.site.is_https() { SECURE_COOKIE } else { LOCAL_COOKIE }
}
