//! The sender of a request: language and address of any visitor, and the session of a signed-in user.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use pushkeys_keys::ErrorReport;

use super::messages::Messages;
use super::pages::{self, Page, Section};
use super::state::Console;
use super::text::Sentence;
use super::{paths, refusals};
use crate::language::Language;
use crate::oidc::{Oidc, SignInError};
use crate::request_id::RequestId;
use crate::secret::{Token, TokenDigest};
use crate::store::{Actor, Session, StoreError};

/// Browsers accept a cookie of this name only over TLS and for the whole host (RFC 6265bis).
const SECURE_COOKIE: &str = "__Host-pushkeys_session";
/// For a console on this machine, without TLS.
const LOCAL_COOKIE: &str = "pushkeys_session";
/// The longest `User-Agent` that is kept, in characters.
const AGENT_CHARACTERS_MAX: usize = 200;

/// The sender of a request, as its headers describe it.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) language: Language,
    pub(super) address: Option<IpAddr>,
    pub(super) agent: String,
    pub(super) request: Option<RequestId>,
}

/// A visitor with a session. A handler that takes one redirects others to the sign-in page.
pub(super) struct SignedIn {
    pub(super) visitor: Visitor,
    pub(super) session: Session,
    /// The CSRF token, which every form repeats: only pages for this session have it.
    pub(super) csrf: String,
}

impl Visitor {
    pub(super) fn texts(&self) -> &'static Messages {
        Messages::of(self.language)
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::console(self.address, self.request.clone())
    }

    /// The frame of a page without a session.
    pub(super) fn page(&self) -> Page {
        Page::new(self.language, None, String::new(), Section::None)
    }

    /// A page that says that the service failed. The cause is only logged.
    pub(super) fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Response {
        tracing::error!("a page failed: {}", ErrorReport::of(error));
        self.refused(StatusCode::SERVICE_UNAVAILABLE, self.texts().unavailable)
    }

    /// A page that says why nothing was done.
    pub(super) fn refused(&self, status: StatusCode, why: &str) -> Response {
        self.message(status, self.texts().failed_title, why)
    }

    /// A page that says why the sign-in at the OpenID provider was refused.
    pub(super) fn not_signed_in(&self, oidc: &Oidc, error: &SignInError) -> Response {
        tracing::warn!("a sign-in by OpenID Connect was refused: {}", ErrorReport::of(error));
        let (status, why) = refusals::sign_in(error, &oidc.settings().label, self.texts());
        self.refused(status, &why)
    }

    fn message(&self, status: StatusCode, title: &'static str, text: &str) -> Response {
        let page = self.page().with_error();
        let link = Some((paths::KEYS, page.t.back_to_keys));
        pages::render(status, &pages::MessagePage { title, text: Sentence::new(text), link, page })
    }
}

/// The page for paths that do not exist.
pub(super) async fn not_found(visitor: Visitor) -> Response {
    let texts = visitor.texts();
    visitor.message(StatusCode::NOT_FOUND, texts.not_found_title, texts.not_found)
}

impl SignedIn {
    pub(super) fn texts(&self) -> &'static Messages {
        self.visitor.texts()
    }

    pub(super) fn page(&self, section: Section) -> Page {
        let account = self.session.account_name.clone();
        Page::new(self.visitor.language, Some(account), self.csrf.clone(), section)
    }

    pub(super) fn actor(&self) -> Actor {
        self.visitor.actor()
    }

    pub(super) fn failed(&self, error: &StoreError) -> Response {
        self.visitor.failed(error)
    }
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(request: &mut Parts, console: &Console) -> Result<Self, Self::Rejection> {
        let connection = request.extensions.get::<SocketAddr>();
        let address = connection.map(|connection| console.limits.address(*connection, &request.headers));
        let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let agent = agent.trim().chars().filter(|character| !character.is_control());
        let agent = agent.take(AGENT_CHARACTERS_MAX).collect();
        let request_id = request.extensions.get::<RequestId>().cloned();
        Ok(Self { language: Language::of(&request.headers), address, agent, request: request_id })
    }
}

impl FromRequestParts<Console> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(request: &mut Parts, console: &Console) -> Result<Self, Response> {
        let found = <Self as OptionalFromRequestParts<Console>>::from_request_parts(request, console).await?;
        found.ok_or_else(|| {
            // A form is lost with its session; the user continues with the page that it came from.
            let is_page = request.method == axum::http::Method::GET;
            let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
            Redirect::to(&sign_in_path(if is_page { path } else { paths::KEYS }, true)).into_response()
        })
    }
}

impl OptionalFromRequestParts<Console> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(request: &mut Parts, console: &Console) -> Result<Option<Self>, Response> {
        let Ok(visitor) = Visitor::from_request_parts(request, console).await;
        let Some(token) = session_token(&request.headers, console.site.is_https()) else { return Ok(None) };
        let digest = TokenDigest::of(&token);
        let session = console.store.session(digest, console.lifetimes()).await;
        let session = session.map_err(|error| visitor.failed(&error))?;
        Ok(session.map(|session| Self { visitor, session, csrf: csrf(&token) }))
    }
}

/// The sign-in page that leads back to `next`.
pub(super) fn sign_in_path(next: &str, is_over: bool) -> String {
    let mut path = String::from("/sign-in?");
    if is_over && next != paths::KEYS {
        path.push_str("done=session-over&");
    }
    path.push_str("next=");
    path.push_str(&crate::percent::encode(next));
    path
}

/// A digest with a prefix, so that it reveals neither the session's token nor the stored digest.
fn csrf(token: &str) -> String {
    TokenDigest::of(&format!("csrf {token}")).to_hex()
}

fn session_token(headers: &HeaderMap, is_https: bool) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    Some(jar.get(cookie_name(is_https))?.value().to_owned())
}

fn cookie_name(is_https: bool) -> &'static str {
    if is_https { SECURE_COOKIE } else { LOCAL_COOKIE }
}

/// Sets the session cookie.
pub(super) fn with_session(console: &Console, token: &Token, response: Response) -> Response {
    let lifetime_s = i64::try_from(console.config.session_max.as_secs()).unwrap_or(i64::MAX);
    with_cookie(console, cookie_name(console.site.is_https()), token.reveal(), lifetime_s, response)
}

/// Removes the session cookie.
pub(super) fn without_session(console: &Console, response: Response) -> Response {
    with_cookie(console, cookie_name(console.site.is_https()), "", 0, response)
}

/// Sets a cookie that is sent with our own requests and with links to us.
pub(super) fn with_cookie(
    console: &Console,
    name: &'static str,
    value: &str,
    lifetime_s: i64,
    mut response: Response,
) -> Response {
    let is_https = console.site.is_https();
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(is_https)
        .same_site(SameSite::Lax)
        .build();
    // The crate's own `max_age` would need another crate.
    if let Ok(value) = HeaderValue::from_str(&format!("{cookie}; Max-Age={lifetime_s}")) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}
