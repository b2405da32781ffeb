//! OAuth 1.0a with the signature method PLAINTEXT (RFC 5849, sections 3.4.4 and 3.5.1).
//!
//! Known clients send it in two forms: the consumer key, the token and the signature alone, or with
//! method, nonce, timestamp and version as the standard asks. PLAINTEXT has no use for a nonce.

use super::AuthError;
use crate::percent;

/// The most parameters that a header may hold; the standard knows nine.
const PARAMETERS_MAX: usize = 16;

/// A credential as it was sent, decoded.
///
/// Deliberately without `Debug`: the signature is made of secrets.
#[derive(Default)]
pub(super) struct Plaintext {
    pub(super) consumer_key: String,
    pub(super) token: String,
    /// `<consumer secret>&<token secret>`.
    pub(super) signature: String,
}

/// Reads what follows `OAuth ` in the header.
pub(super) fn parse(parameters: &str) -> Result<Plaintext, AuthError> {
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
    version: Option<String>,
}

impl Sent {
    fn take(&mut self, name: &str, value: String) -> Result<(), AuthError> {
        let field = match name {
            "oauth_consumer_key" => &mut self.consumer_key,
            "oauth_token" => &mut self.token,
            "oauth_signature" => &mut self.signature,
            "oauth_signature_method" => &mut self.method,
            "oauth_version" => &mut self.version,
            "realm" | "oauth_nonce" | "oauth_timestamp" => return Ok(()),
            _ => return Err(AuthError::Unreadable),
        };
        // Of two values, a proxy may have read the other one.
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(AuthError::Unreadable),
        }
    }

    fn finish(self) -> Result<Plaintext, AuthError> {
        match self.method.as_deref() {
            None | Some("PLAINTEXT") => {}
            Some("HMAC-SHA512") => return Err(AuthError::Method),
            Some(_) => return Err(AuthError::Unreadable),
        }
        if self.version.is_some_and(|version| version != "1.0") {
            return Err(AuthError::Unreadable);
        }
        match (self.consumer_key, self.token, self.signature) {
            (Some(consumer_key), Some(token), Some(signature)) => {
                Ok(Plaintext { consumer_key, token, signature })
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
    fn a_method_that_is_not_served_is_named() {
        let header = r#"oauth_consumer_key="C", oauth_token="T", oauth_signature="x", oauth_signature_method="HMAC-SHA512""#;
        assert!(matches!(parse(header), Err(AuthError::Method)));
    }
}
