//! OAuth 1.0a credentials (RFC 5849, section 3.5.1), signed with PLAINTEXT or HMAC-SHA512.
//!
//! Known clients send PLAINTEXT in two forms: with consumer key, token and signature only, or with method, nonce,
//! timestamp and version as well. PLAINTEXT does not need a nonce.

use serde::Deserialize;

use super::error::AuthError;
use crate::percent;

/// The most parameters of a header; the standard has nine.
const PARAMETERS_MAX: usize = 16;
/// The longest nonce in bytes: known clients send 32.
const NONCE_BYTES_MAX: usize = 256;

/// A program that uses OAuth 1.0a for accounts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumer {
    pub(crate) key: String,
    /// Its part of the signing key.
    pub(crate) secret: String,
}

impl Consumer {
    /// Clever Cloud's CLI, whose consumer secret is published in its source.
    pub(crate) fn clever_tools() -> Self {
        Self { key: "T5nFjKeHH4AIlEveuGhB5S3xg8T19e".into(), secret: "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT".into() }
    }
}

/// A credential as it was sent, decoded.
///
/// Deliberately without `Debug`, since a PLAINTEXT signature consists of secrets.
pub(super) struct OauthCredential {
    pub(super) consumer_key: String,
    pub(super) token: String,
    /// `<consumer secret>&<token secret>`, or the base64 of an HMAC with that key.
    pub(super) signature: String,
    pub(super) method: SignatureMethod,
}

/// A signature method.
pub(super) enum SignatureMethod {
    /// The signature is the secrets.
    Plaintext,
    /// The signature is an HMAC of the request.
    HmacSha512(Signed),
}

/// The parts of a credential that signs the request.
pub(super) struct Signed {
    /// Seconds since 1970.
    pub(super) timestamp_s: i64,
    pub(super) nonce: String,
    /// The parameters of the header that are signed: all but `realm` and the signature itself.
    pub(super) parameters: Vec<(String, String)>,
}

/// Parses the part after `OAuth ` in the header.
pub(super) fn parse(parameters: &str) -> Result<OauthCredential, AuthError> {
    let mut sent = Sent::default();
    for (at, parameter) in parameters.split(',').enumerate() {
        if at == PARAMETERS_MAX {
            return Err(AuthError::Unreadable);
        }
        let (name, quoted) = parameter.trim().split_once('=').ok_or(AuthError::Unreadable)?;
        let value = quoted.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.and_then(percent::decode).ok_or(AuthError::Unreadable)?;
        sent.take(name, value)?;
    }
    sent.finish()
}

#[derive(Default)]
struct Sent {
    consumer_key: Option<String>,
    token: Option<String>,
    signature: Option<String>,
    method: Option<String>,
    timestamp: Option<String>,
    nonce: Option<String>,
    version: Option<String>,
    signed: Vec<(String, String)>,
}

impl Sent {
    fn take(&mut self, name: &str, value: String) -> Result<(), AuthError> {
        let field = match name {
            "oauth_consumer_key" => &mut self.consumer_key,
            "oauth_token" => &mut self.token,
            "oauth_signature" => &mut self.signature,
            "oauth_signature_method" => &mut self.method,
            "oauth_timestamp" => &mut self.timestamp,
            "oauth_nonce" => &mut self.nonce,
            "oauth_version" => &mut self.version,
            "realm" => return Ok(()),
            _ => return Err(AuthError::Unreadable),
        };
        if name != "oauth_signature" {
            self.signed.push((name.to_owned(), value.clone()));
        }
        // With two values, a proxy in front could have read the other.
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(AuthError::Unreadable),
        }
    }

    fn finish(self) -> Result<OauthCredential, AuthError> {
        let method = match self.method.as_deref() {
            None | Some("PLAINTEXT") => SignatureMethod::Plaintext,
            Some("HMAC-SHA512") => {
                SignatureMethod::HmacSha512(Signed::of(self.timestamp, self.nonce, self.signed)?)
            }
            Some(_) => return Err(AuthError::Method),
        };
        if self.version.is_some_and(|version| version != "1.0") {
            return Err(AuthError::Unreadable);
        }
        match (self.consumer_key, self.token, self.signature) {
            (Some(consumer_key), Some(token), Some(signature)) => {
                Ok(OauthCredential { consumer_key, token, signature, method })
            }
            _ => Err(AuthError::Unreadable),
        }
    }
}

impl Signed {
    fn of(
        timestamp: Option<String>,
        nonce: Option<String>,
        parameters: Vec<(String, String)>,
    ) -> Result<Self, AuthError> {
        let timestamp_s: Option<u32> = timestamp.and_then(|text| text.parse().ok());
        match (timestamp_s, nonce) {
            (Some(timestamp_s), Some(nonce)) if (1..=NONCE_BYTES_MAX).contains(&nonce.len()) => {
                Ok(Self { timestamp_s: timestamp_s.into(), nonce, parameters })
            }
            _ => Err(AuthError::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parameters: &str, expected: Option<(&str, &str, &str)>) {
        let read = parse(parameters).ok();
        let read = read.as_ref().map(|sent| (&*sent.consumer_key, &*sent.token, &*sent.signature));
        assert_eq!(read, expected, "{parameters}");
    }

    #[test]
    fn both_forms_that_clients_send_are_read() {
        let expected = Some(("C", "T", "cs&ts"));
        check(r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="cs%26ts""#, expected);
        check(r#"oauth_consumer_key="C",oauth_token="T",oauth_signature="cs&ts""#, expected);
        check(
            r#"realm="", oauth_consumer_key="C", oauth_token="T", oauth_signature_method="PLAINTEXT",
               oauth_signature="cs%26ts", oauth_timestamp="1", oauth_nonce="n", oauth_version="1.0""#,
            expected,
        );
    }

    #[test]
    fn a_header_with_a_part_missing_doubled_or_unknown_is_no_credential() {
        check("", None);
        check(r#"oauth_consumer_key="C", oauth_token="T""#, None);
        check(r#"oauth_consumer_key="C", oauth_token="T", oauth_token="U", oauth_signature="x""#, None);
        check(r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="x", account="acct_1""#, None);
        check(r#"oauth_consumer_key="C", oauth_token=T, oauth_signature="x""#, None);
        check(r#"oauth_consumer_key="C", oauth_token="%zz", oauth_signature="x""#, None);
        check(r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="x", oauth_version="2.0""#, None);
        check(&r#"realm="","#.repeat(PARAMETERS_MAX + 1), None);
    }

    #[test]
    fn a_signature_over_the_request_needs_a_nonce_and_a_timestamp() {
        let check = |more: &str, is_read: bool| {
            let header = format!(
                r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="x", oauth_signature_method="HMAC-SHA512"{more}"#
            );
            assert_eq!(parse(&header).is_ok(), is_read, "{header}");
        };
        check(r#", oauth_timestamp="1", oauth_nonce="n""#, true);
        check(r#", oauth_timestamp="1""#, false);
        check(r#", oauth_nonce="n""#, false);
        check(r#", oauth_timestamp="1", oauth_nonce="""#, false);
        check(r#", oauth_timestamp="-1", oauth_nonce="n""#, false);
        check(r#", oauth_timestamp="soon", oauth_nonce="n""#, false);
        let long = "n".repeat(NONCE_BYTES_MAX + 1);
        check(&format!(r#", oauth_timestamp="1", oauth_nonce="{long}""#), false);
    }

    #[test]
    fn all_of_the_header_but_realm_and_signature_is_signed() {
        let header = r#"realm="r", oauth_consumer_key="C", oauth_token="T", oauth_signature="x",
            oauth_signature_method="HMAC-SHA512", oauth_timestamp="1", oauth_nonce="n", oauth_version="1.0""#;
        let SignatureMethod::HmacSha512(signed) = parse(header).ok().unwrap().method else { unreachable!() };
        let names: Vec<&str> = signed.parameters.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["consumer_key", "token", "signature_method", "timestamp", "nonce", "version"];
        assert_eq!(names, expected.map(|name| format!("oauth_{name}")));
    }

    #[test]
    fn a_method_that_is_not_served_is_an_error_of_its_own() {
        let header = r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="x", oauth_signature_method="HMAC-SHA1""#;
        assert!(matches!(parse(header), Err(AuthError::Method)));
    }
}
