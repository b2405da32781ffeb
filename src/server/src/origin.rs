//! Origins (RFC 6454), by which a browser says which page sends a request.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderValue;
use serde::Deserialize;
use thiserror::Error;

/// Scheme, host and optional port of a page, as a browser sends them: `https://console.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Origin(HeaderValue);

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not an origin such as https://console.example.com, in lower case and without a path", pushkeys_keys::escape(.0))]
pub(crate) struct ParseOriginError(String);

impl Origin {
    /// The value of `Access-Control-Allow-Origin` that lets its pages read an answer.
    pub(crate) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether `origin`, a header's value, is this one.
    pub(crate) fn is(&self, origin: &HeaderValue) -> bool {
        self.0 == *origin
    }

    /// The text, as a browser sends it.
    pub(crate) fn as_str(&self) -> &str {
        // It was parsed from a string.
        self.0.to_str().unwrap_or_default()
    }

    /// Whether its pages come over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.as_bytes().starts_with(b"https://")
    }

    /// Whether its host is this machine: `localhost` or a loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.to_str().ok().and_then(|text| text.split_once("://")).map_or("", |(_, host)| host);
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let is_host = |byte: u8| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'-' | b'.' | b':' | b'[' | b']')
        };
        let refused = || ParseOriginError(text.chars().take(80).collect());
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match host {
            Some(host) if !host.is_empty() && host.bytes().all(is_host) => {
                HeaderValue::from_str(text).map(Self).map_err(|_| refused())
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = ParseOriginError;

    fn try_from(text: String) -> Result<Self, ParseOriginError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_and_never_a_wildcard() {
        for text in ["https://console.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(text.parse::<Origin>().is_ok(), "{text}");
        }
        for text in ["", "*", "null", "https://", "https://a/", "https://A", "a.example", "https://*.a"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
