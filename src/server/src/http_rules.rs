//! What HTTP asks of every request and every response, whichever part of the service answers.

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, HOST, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::Response;

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Nearly all responses are answers to a credential (RFC 6749, section 5.1), or about one account; the others say otherwise.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// When a client may try again that was not told it more precisely, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// What the rules need to know of the service.
#[derive(Clone, Copy)]
pub(crate) struct HttpRules {
    /// Clients reach the service by TLS alone.
    pub(crate) is_https: bool,
    /// The response that refuses a request, with the reason.
    pub(crate) refuse: fn(&str, &Method) -> Response,
}

/// Refuses a request whose host is not certain, and adds to a response what its handler did not.
pub(crate) async fn apply(
    State(HttpRules { is_https, refuse }): State<HttpRules>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(why) => refuse(why, request.method()),
    };
    let waits = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    if is_https {
        headers.insert(STRICT_TRANSPORT_SECURITY, ONE_YEAR);
    }
    if waits {
        headers.entry(RETRY_AFTER).or_insert(RETRY_AFTER_S);
    }
    response
}

/// RFC 9112, section 3.2, and RFC 9113, section 8.3.1: a request names one host, or a proxy may have gone by another one.
fn check_host(request: &Request) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, authority) = (hosts.next(), request.uri().authority());
    if hosts.next().is_some() {
        return Err("the request has more than one `Host`");
    }
    let is_good = |host: &HeaderValue| host.to_str().ok().and_then(parse).is_some();
    match (host, authority) {
        (Some(host), _) if !is_good(host) => Err("the `Host` of the request is malformed"),
        (_, Some(authority)) if parse(authority.as_str()).is_none() => {
            Err("the host in the target of the request is malformed")
        }
        (Some(host), Some(authority)) if request.version() == Version::HTTP_2 => {
            let is_same = authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes());
            if is_same { Ok(()) } else { Err("`:authority` and `Host` of the request differ") }
        }
        (None, None) if request.version() >= Version::HTTP_11 => Err("the request has no `Host`"),
        (None, Some(_)) if request.version() == Version::HTTP_11 => Err("the request has no `Host`"),
        _ => Ok(()),
    }
}

/// A host, and perhaps a port, without a user's name.
fn parse(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port = authority.as_str().get(authority.host().len()..)?;
    let is_port = port.strip_prefix(':').map_or(port.is_empty(), |port| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    (is_port && !authority.host().is_empty() && !text.contains('@')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_request_names_one_host() {
        let check = |version: Version, target: &str, hosts: &[&[u8]], is_good: bool| {
            let mut request = Request::builder().version(version).uri(target);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let checked = check_host(&request.body(Body::empty()).unwrap());
            assert_eq!(checked.is_ok(), is_good, "{version:?} {target} {hosts:?} {checked:?}");
        };
        let (http_10, http_11, http_2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for host in ["a", "a.example:8080", "127.0.0.1", "[::1]:80", "a:", "a_b.example"] {
            check(http_11, "/", &[host.as_bytes()], true);
        }
        for host in
            ["", "a b", "u@a", "u:p@a", "a:b", "a:99999", "a/b", "[::1", ":80", "a, b", "a\\b", "\u{e9}"]
        {
            check(http_11, "/", &[host.as_bytes()], false);
        }
        check(http_11, "/", &[b"\xff"], false);
        check(http_11, "/", &[b"a", b"a"], false);
        check(http_11, "/", &[], false);
        check(http_10, "/", &[], true);
        check(http_10, "/", &[b"a", b"b"], false);
        check(http_11, "http://a/", &[b"b"], true);
        check(http_11, "http://a/", &[], false);
        check(http_2, "http://a/", &[], true);
        check(http_2, "http://a/", &[b"A"], true);
        check(http_2, "http://a/", &[b"b"], false);
        check(http_2, "http://u@a/", &[], false);
        check(http_2, "/", &[], false);
        check(http_2, "/", &[b"a"], true);
    }
}
