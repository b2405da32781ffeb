//! Requests to other services: over TLS, without redirects and proxies, bounded in time and size.

use std::borrow::Cow;
use std::error::Error;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, io, iter};

use axum::http::{HeaderMap, StatusCode};
use pushkeys_keys::Hint;
use reqwest::{Client, RequestBuilder, Url};
use rustls::CertificateError;
use serde::Deserialize;
use thiserror::Error;

/// How long a connection may take to open, and a request with its whole response. A user waits for it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(4);
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);
/// The longest response in bytes, after decompression: room for a hundred of the longest keys.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
const USER_AGENT: &str = concat!("pushkeys-server/", env!("CARGO_PKG_VERSION"));

const _: () = assert!(CONNECT_TIME_MAX.as_millis() < ANSWER_TIME_MAX.as_millis());

/// The URL of another service: https, or http on this machine; without query, fragment and credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct RemoteUrl(Cow<'static, str>);

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a URL such as https://api.example.com, without query and credentials", pushkeys_keys::escape(.0))]
pub(crate) struct ParseRemoteUrlError(String);

impl RemoteUrl {
    /// A URL that is a constant of this program.
    pub(crate) const fn constant(url: &'static str) -> Self {
        Self(Cow::Borrowed(url))
    }

    /// The text, as it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is plain http, which is only allowed on this machine.
    pub(crate) fn is_plain(&self) -> bool {
        !self.0.starts_with("https:")
    }

    /// The URL of `path`, which begins with a slash, beneath this one.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.trim_end_matches('/'))
    }

    /// `text` as a URL of the same scheme, host and port, beneath this one's path: a service must not direct our
    /// credential to another.
    pub(crate) fn beneath(&self, text: &str) -> Option<Url> {
        let (base, url) = (Url::parse(&self.0).ok()?, Url::parse(text).ok()?);
        let rest = url.path().strip_prefix(base.path().trim_end_matches('/'))?;
        let is_beneath = rest.is_empty() || rest.starts_with('/');
        (url.origin() == base.origin() && url.username().is_empty() && is_beneath).then_some(url)
    }
}

impl FromStr for RemoteUrl {
    type Err = ParseRemoteUrlError;

    fn from_str(text: &str) -> Result<Self, ParseRemoteUrlError> {
        let refused = || ParseRemoteUrlError(text.chars().take(80).collect());
        let url = Url::parse(text).map_err(|_| refused())?;
        let is_bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_bare && is_private(text, true) { Ok(Self(text.to_owned().into())) } else { Err(refused()) }
    }
}

/// Whether `url` is https, or, where that is allowed, http on this machine.
pub(crate) fn is_private(url: &str, is_plain_allowed: bool) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_plain_allowed && is_loopback(&url),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    is_here(url.host_str().unwrap_or_default())
}

/// Whether `host` is this machine, so that nothing is sent over a network.
pub(crate) fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is wrong with the server's certificate, if that is the cause of `error`.
pub(crate) fn rejected_certificate<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    iter::successors(Some(error), |&error| error.source()).find_map(|cause| {
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let fault = cause.downcast_ref().or_else(|| inside.and_then(|inside| inside.downcast_ref()));
        match fault? {
            rustls::Error::InvalidCertificate(fault) => Some(fault),
            _ => None,
        }
    })
}

/// Whether the certificate is for another name.
pub(crate) fn is_about_name(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
}

impl TryFrom<String> for RemoteUrl {
    type Error = ParseRemoteUrlError;

    fn try_from(text: String) -> Result<Self, ParseRemoteUrlError> {
        text.parse()
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Why there is no response.
#[derive(Debug, Error)]
pub(crate) enum OutboundError {
    /// The system's certificates cannot be read, or the request is not one.
    #[error("cannot prepare requests to other services")]
    Prepare(#[source] reqwest::Error),
    #[error("cannot get a response from `{url}`")]
    Send { url: String, source: reqwest::Error },
    /// See [`ANSWER_TIME_MAX`].
    #[error("`{url}` did not answer within {} s", ANSWER_TIME_MAX.as_secs())]
    TooSlow { url: String },
    /// See [`ANSWER_BYTES_MAX`].
    #[error("the response of `{url}` is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong { url: String },
    /// A failure whose reason cannot be read.
    #[error("`{url}` answered with status {}", status.as_u16())]
    Status { url: String, status: StatusCode },
    /// What is meant for one service is not sent to another.
    #[error("`{url}` redirects elsewhere (status {status}), which is not followed")]
    Redirected {
        url: String,
        status: u16,
        #[source]
        hint: Hint,
    },
}

/// What helps against a failure of another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The user begins again.
    Repeat,
    /// The user waits: it is unavailable or overloaded.
    Wait,
    /// The operator changes something: the service or its registration there is not set up correctly.
    Operator,
}

impl Remedy {
    /// Against a response with this status, which is not one of success.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let may_pass = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
        let is_asked_to_wait = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if may_pass || is_asked_to_wait { Self::Wait } else { Self::Operator }
    }

    /// The end of a message that says so.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Repeat => "begin again",
            Self::Wait => "try again in a minute",
            Self::Operator => "tell the operator of this service",
        }
    }
}

impl OutboundError {
    /// What helps against it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Send { source, .. } if rejected_certificate(source).is_some() => Remedy::Operator,
            Self::Send { .. } | Self::TooSlow { .. } => Remedy::Wait,
            Self::Prepare(_) | Self::TooLong { .. } | Self::Redirected { .. } => Remedy::Operator,
            Self::Status { status, .. } => Remedy::of_status(*status),
        }
    }
}

/// A whole response that is not a redirect.
pub(crate) struct OutboundResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The client of all such requests; clones share its connections.
#[derive(Clone)]
pub(crate) struct Outbound(Client);

impl Outbound {
    /// A client that trusts the system's certificate authorities.
    pub(crate) fn new() -> Result<Self, OutboundError> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .build();
        client.map(Self).map_err(OutboundError::Prepare)
    }

    /// Builds the requests for [`Self::send`].
    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// The whole response to `request`, whatever its status, unless it is a redirect.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<OutboundResponse, OutboundError> {
        let request = request.build().map_err(OutboundError::Prepare)?;
        let url = shown(request.url());
        match tokio::time::timeout(ANSWER_TIME_MAX, self.answer(request, &url)).await {
            Ok(answer) => answer,
            Err(_) => Err(OutboundError::TooSlow { url }),
        }
    }

    async fn answer(&self, request: reqwest::Request, url: &str) -> Result<OutboundResponse, OutboundError> {
        let failed = |source: reqwest::Error| OutboundError::Send {
            url: url.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.0.execute(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let hint = Hint::new("configure the address that answers itself");
            return Err(OutboundError::Redirected { url: url.to_owned(), status: status.as_u16(), hint });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(OutboundError::TooLong { url: url.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(OutboundResponse { status, headers: response.headers().clone(), body })
    }
}

/// Without the query, which can hold secrets.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_url_is_https_or_on_this_machine() {
        for text in [
            "https://api.github.com",
            "https://ghe.example.com/api/v3",
            "http://127.0.0.1:8080",
            "http://[::1]",
        ] {
            assert!(text.parse::<RemoteUrl>().is_ok(), "{text}");
        }
        for text in [
            "",
            "api.github.com",
            "http://api.github.com",
            "http://127.0.0.1.example.com",
            "https://a@example.com",
            "https://example.com/?a=b",
            "https://example.com/#a",
            "file:///etc/passwd",
        ] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn waiting_helps_against_what_may_pass() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(Remedy::of_status(StatusCode::from_u16(status).unwrap()), Remedy::Wait, "{status}");
        }
        for status in [400, 401, 403, 404, 405, 406, 410, 422, 501] {
            assert_eq!(
                Remedy::of_status(StatusCode::from_u16(status).unwrap()),
                Remedy::Operator,
                "{status}"
            );
        }
    }

    #[test]
    fn what_a_service_names_is_beneath_it_or_refused() {
        let base: RemoteUrl = "https://ghe.example.com/api/v3".parse().unwrap();
        assert_eq!(base.join("/user/keys"), "https://ghe.example.com/api/v3/user/keys");
        assert!(base.beneath("https://ghe.example.com/api/v3/user/keys?page=2").is_some());
        for text in [
            "https://evil.example.com/api/v3/user/keys",
            "http://ghe.example.com/api/v3/user/keys",
            "https://ghe.example.com:8443/api/v3/user/keys",
            "https://ghe.example.com/other",
            "https://ghe.example.com/api/v3evil",
            "https://ghe.example.com/api/v3/../../other",
            "https://a@ghe.example.com/api/v3/user/keys",
            "/user/keys?page=2",
        ] {
            assert!(base.beneath(text).is_none(), "{text}");
        }
    }
}
