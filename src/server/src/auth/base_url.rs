//! The URL at which clients reach the service, which they sign with their requests.

use std::fmt;
use std::str::FromStr;

use axum::http::header::HOST;
use axum::http::request::Parts;
use thiserror::Error;

/// Scheme, host, optional port and path prefix, without a slash at the end: `https://keys.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl(String);

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a URL such as https://keys.example.com, without query and slash at its end", pushkeys_keys::escape(.0))]
pub(crate) struct ParsePublicUrlError(String);

impl FromStr for PublicUrl {
    type Err = ParsePublicUrlError;

    fn from_str(text: &str) -> Result<Self, ParsePublicUrlError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.ends_with('/') && rest.bytes().all(is_plain) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ParsePublicUrlError(text.chars().take(80).collect())),
        }
    }
}

impl PublicUrl {
    /// Whether clients come by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The URLs, without query, that the client may have signed.
///
/// Without a configured URL there are two, since it is not known whether a proxy in front terminates TLS; a signature for
/// either proves the same.
pub(super) fn candidates(public_url: Option<&PublicUrl>, request: &Parts) -> Vec<String> {
    let path = request.uri.path();
    if let Some(url) = public_url {
        return vec![format!("{url}{path}")];
    }
    let Some(host) = host(request) else { return Vec::new() };
    // RFC 5849, section 3.4.1.2: the default port of the scheme is left out.
    let [http, https] = [":80", ":443"].map(|port| host.strip_suffix(port).unwrap_or(&host));
    vec![format!("http://{http}{path}"), format!("https://{https}{path}")]
}

/// The host of the URL (HTTP/2), or of the `Host` header.
fn host(request: &Parts) -> Option<String> {
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST)?.to_str().ok()?,
    };
    Some(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_public_url_has_a_scheme_and_a_host_and_no_slash_at_its_end() {
        for text in ["https://keys.example.com", "http://127.0.0.1:8080", "https://example.com/keys"] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), text);
        }
        for text in
            ["", "keys.example.com", "https://", "https://a/", "ftp://a", "https://a?b", "https://a b"]
        {
            assert!(text.parse::<PublicUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_client_means_the_configured_url_or_else_the_host_it_names() {
        let check = |public_url: Option<&str>, host: &str, expected: &[&str]| {
            let request = Request::get("/v2/self/keys/a%20b?c=d").header(HOST, host).body(()).unwrap();
            let public_url = public_url.map(|url| url.parse().unwrap());
            assert_eq!(candidates(public_url.as_ref(), &request.into_parts().0), expected);
        };
        let path = "/v2/self/keys/a%20b";
        check(Some("https://x/y"), "h", &[&format!("https://x/y{path}")]);
        check(
            None,
            "Keys.Example:8080",
            &[&format!("http://keys.example:8080{path}"), &format!("https://keys.example:8080{path}")],
        );
        check(None, "h:443", &[&format!("http://h:443{path}"), &format!("https://h{path}")]);
        check(None, "h:80", &[&format!("http://h{path}"), &format!("https://h:80{path}")]);
    }
}
