//! Validation of ID tokens (OpenID Connect Core, section 3.1.3.7).

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use pushkeys_keys::Hint;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Accepted signature algorithms: no shared secrets, and not `none`.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Tolerated difference between the two clocks, in seconds.
pub(super) const CLOCK_SKEW_S: u64 = 60;
/// The longest token in bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// The longest subject (OpenID Connect Core, section 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Why a token is refused.
#[derive(Debug, Error)]
pub(crate) enum IdTokenError {
    /// None, or too long.
    #[error("the provider sent no ID token")]
    Missing,
    /// Not a signed token, or signed by an algorithm that is not accepted (`none` and HMAC are not).
    #[error("the provider's ID token is not signed with an accepted algorithm")]
    Algorithm,
    /// No published key has its id and type.
    #[error("the provider publishes no key that matches its ID token")]
    NoKey,
    /// A wrong signature, issuer, audience or time.
    #[error("the provider's ID token is not valid for this service")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// Another nonce, perhaps of another user's attempt.
    #[error("the provider's ID token belongs to another attempt to sign in")]
    Nonce,
    /// Issued to another client, with this service among several audiences.
    #[error("the provider's ID token was issued to another client")]
    AuthorizedParty,
    /// Empty or too long.
    #[error("the provider's ID token has no valid subject")]
    Subject,
    /// Required, since `max_age` was requested (OpenID Connect Core, section 2).
    #[error("the provider's ID token does not say when the user signed in (`auth_time`)")]
    NoAuthTime(#[source] Hint),
    /// The provider did not ask the user to sign in again.
    #[error("the provider used an existing session: the user signed in there {age_s} s before this attempt")]
    OldAuthTime { age_s: i64 },
    /// One of the two clocks is wrong.
    #[error("the provider's ID token says that the user signed in {ahead_s} s in the future")]
    FutureAuthTime {
        ahead_s: i64,
        #[source]
        hint: Hint,
    },
}

/// What a token must contain.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
}

/// The claims of a valid token.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a string.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim)?.as_str()
    }

    /// Whether a claim is `true`, which some providers write as a string.
    pub(super) fn is_true(&self, claim: &str) -> bool {
        matches!(self.0.get(claim), Some(Value::Bool(true))) || self.text(claim) == Some("true")
    }

    /// When the user signed in at the provider; both in seconds since 1970. `None`: the token has no `auth_time`.
    pub(super) fn auth_time_s(&self, now_s: i64) -> Result<Option<i64>, IdTokenError> {
        let auth_time_s = self.0.get("auth_time").and_then(Value::as_i64);
        let ahead_s = auth_time_s.map_or(0, |auth_time_s| auth_time_s.saturating_sub(now_s));
        if ahead_s > CLOCK_SKEW_S.cast_signed() {
            return Err(IdTokenError::FutureAuthTime { ahead_s, hint: Hint::new("set the clocks") });
        }
        Ok(auth_time_s)
    }
}

/// Refuses a sign-in from before `begun_at_s`, when the user was asked to sign in again.
pub(super) fn check_is_new(auth_time_s: Option<i64>, begun_at_s: i64) -> Result<(), IdTokenError> {
    let auth_time_s = auth_time_s.ok_or_else(|| {
        let hint = "let the provider send the claim, or set `oidc.require_auth_time = false`";
        IdTokenError::NoAuthTime(Hint::new(hint))
    })?;
    let age_s = begun_at_s.saturating_sub(auth_time_s);
    if age_s > CLOCK_SKEW_S.cast_signed() { Err(IdTokenError::OldAuthTime { age_s }) } else { Ok(()) }
}

/// The claims of `token`, if one of `keys` signed it and its contents are as expected.
pub(super) fn check(token: &str, keys: &[Jwk], expected: &Expected<'_>) -> Result<Claims, IdTokenError> {
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(IdTokenError::Missing);
    }
    let header = decode_header(token).map_err(|_| IdTokenError::Algorithm)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(IdTokenError::Algorithm);
    }
    let key = fitting_key(keys, header.kid.as_deref(), header.alg).ok_or(IdTokenError::NoKey)?;
    let key = DecodingKey::from_jwk(key).map_err(IdTokenError::Invalid)?;
    let mut validation = Validation::new(header.alg);
    validation.leeway = CLOCK_SKEW_S;
    validation.validate_nbf = true;
    validation.set_audience(&[expected.client_id]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims =
        decode::<Map<String, Value>>(token, &key, &validation).map_err(IdTokenError::Invalid)?.claims;
    let claims = Claims(claims);
    claims.check(expected)?;
    Ok(claims)
}

impl Claims {
    fn check(&self, expected: &Expected<'_>) -> Result<(), IdTokenError> {
        let nonce = self.text("nonce").unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(IdTokenError::Nonce);
        }
        let is_shared = matches!(self.0.get("aud"), Some(Value::Array(audiences)) if audiences.len() > 1);
        match self.text("azp") {
            Some(party) if party != expected.client_id => return Err(IdTokenError::AuthorizedParty),
            None if is_shared => return Err(IdTokenError::AuthorizedParty),
            _ => {}
        }
        match self.text("sub") {
            Some(subject) if !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX => Ok(()),
            _ => Err(IdTokenError::Subject),
        }
    }
}

/// The key that the token names. A provider with a single key need not name it.
fn fitting_key<'a>(keys: &'a [Jwk], id: Option<&str>, algorithm: Algorithm) -> Option<&'a Jwk> {
    let mut fitting = keys.iter().filter(|key| {
        let common = &key.common;
        let is_for_signing = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        // `Display` writes the registered name.
        let is_of_algorithm =
            common.key_algorithm.is_none_or(|wanted| wanted.to_string().parse() == Ok(algorithm));
        is_for_signing && is_of_algorithm && is_of_family(key, algorithm)
    });
    match id {
        Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}

fn is_of_family(key: &Jwk, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_)),
        Algorithm::EdDSA => matches!(key.algorithm, AlgorithmParameters::OctetKeyPair(_)),
        _ => matches!(key.algorithm, AlgorithmParameters::RSA(_)),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://id.example.com", client_id: "us", nonce: "n-1" };

    fn new_key(id: &str) -> (EncodingKey, Jwk) {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(id.to_owned());
        (key, public)
    }

    fn claims() -> Value {
        let now = get_current_timestamp();
        json!({
            "iss": "https://id.example.com", "aud": "us", "sub": "u-7", "nonce": "n-1",
            "iat": now, "exp": now + 300,
        })
    }

    fn token(key: &EncodingKey, id: &str, claims: &Value) -> String {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, key).unwrap()
    }

    #[test]
    fn a_token_is_believed_as_it_should_be_and_in_no_other_way() {
        let (key, public) = new_key("k");
        let try_check = |claims: &Value| {
            check(&token(&key, "k", claims), std::slice::from_ref(&public), &EXPECTED).map(|_| ())
        };
        assert!(try_check(&claims()).is_ok());
        let with = |member: &str, value: Value| {
            let mut claims = claims();
            claims[member] = value;
            try_check(&claims)
        };
        assert!(with("aud", json!(["us"])).is_ok());
        assert!(with("azp", json!("us")).is_ok());
        assert!(matches!(with("aud", json!("others")), Err(IdTokenError::Invalid(_))));
        assert!(matches!(with("aud", json!(["us", "others"])), Err(IdTokenError::AuthorizedParty)));
        assert!(matches!(with("azp", json!("others")), Err(IdTokenError::AuthorizedParty)));
        assert!(matches!(with("iss", json!("https://id.example.com/")), Err(IdTokenError::Invalid(_))));
        assert!(matches!(with("exp", json!(get_current_timestamp() - 120)), Err(IdTokenError::Invalid(_))));
        assert!(matches!(with("exp", Value::Null), Err(IdTokenError::Invalid(_))));
        assert!(matches!(with("nbf", json!(get_current_timestamp() + 120)), Err(IdTokenError::Invalid(_))));
        assert!(matches!(with("nonce", json!("n-2")), Err(IdTokenError::Nonce)));
        assert!(matches!(with("nonce", Value::Null), Err(IdTokenError::Nonce)));
        assert!(matches!(with("sub", json!("")), Err(IdTokenError::Subject)));
        assert!(matches!(with("sub", json!("x".repeat(256))), Err(IdTokenError::Subject)));
        assert!(matches!(with("sub", Value::Null), Err(IdTokenError::Invalid(_) | IdTokenError::Subject)));
    }

    #[test]
    fn a_person_who_is_asked_to_sign_in_again_has_to_have_done_so() {
        const NOW_S: i64 = 1_000_000;
        let check = |auth_time: Value, expected: Result<Option<i64>, &str>| {
            let claims = Claims(json!({ "auth_time": auth_time }).as_object().unwrap().clone());
            let found = claims.auth_time_s(NOW_S).map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{auth_time}"),
                Err(part) => assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{found:?}"),
            }
        };
        check(json!(NOW_S), Ok(Some(NOW_S)));
        check(json!(NOW_S + 60), Ok(Some(NOW_S + 60)));
        check(json!(NOW_S + 61), Err("61 s in the future"));
        check(json!(i64::MAX), Err("9223372036853775807 s in the future"));
        check(json!("yesterday"), Ok(None));
        check(Value::Null, Ok(None));
        assert!(check_is_new(Some(NOW_S), NOW_S).is_ok());
        assert!(check_is_new(Some(NOW_S - 60), NOW_S).is_ok());
        assert!(matches!(
            check_is_new(Some(NOW_S - 61), NOW_S),
            Err(IdTokenError::OldAuthTime { age_s: 61 })
        ));
        assert!(matches!(check_is_new(Some(i64::MIN), NOW_S), Err(IdTokenError::OldAuthTime { .. })));
        assert!(matches!(check_is_new(None, NOW_S), Err(IdTokenError::NoAuthTime(_))));
    }

    #[test]
    fn a_token_is_signed_by_the_published_key_that_it_names() {
        let ((key, public), (other_key, other_public)) = (new_key("k"), new_key("o"));
        let try_check = |token: &str, keys: &[Jwk]| check(token, keys, &EXPECTED).map(|_| ());
        let both = [public.clone(), other_public.clone()];
        assert!(try_check(&token(&key, "k", &claims()), &both).is_ok());
        assert!(try_check(&token(&other_key, "o", &claims()), &both).is_ok());
        assert!(matches!(
            try_check(&token(&other_key, "k", &claims()), &both),
            Err(IdTokenError::Invalid(_))
        ));
        assert!(matches!(try_check(&token(&key, "k", &claims()), &[other_public]), Err(IdTokenError::NoKey)));
        let unnamed = encode(&Header::new(Algorithm::ES256), &claims(), &key).unwrap();
        assert!(try_check(&unnamed, std::slice::from_ref(&public)).is_ok());
        assert!(matches!(try_check(&unnamed, &both), Err(IdTokenError::NoKey)));
        let mut for_encryption = public;
        for_encryption.common.public_key_use = Some(PublicKeyUse::Encryption);
        assert!(matches!(try_check(&unnamed, &[for_encryption]), Err(IdTokenError::NoKey)));
    }

    #[test]
    fn a_token_without_signature_or_with_a_shared_secret_is_refused() {
        use base64ct::{Base64UrlUnpadded, Encoding as _};
        let (key, public) = new_key("k");
        let keys = [public];
        let try_check = |token: &str| check(token, &keys, &EXPECTED).map(|_| ());
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let unsigned = format!("{}.{}.", part(&json!({"alg": "none", "kid": "k"})), part(&claims()));
        assert!(matches!(try_check(&unsigned), Err(IdTokenError::Algorithm)));
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::HS256) };
        let shared = encode(&header, &claims(), &EncodingKey::from_secret(b"hush")).unwrap();
        assert!(matches!(try_check(&shared), Err(IdTokenError::Algorithm)));
        let whole = token(&key, "k", &claims());
        assert!(matches!(try_check(whole.rsplit_once('.').unwrap().0), Err(IdTokenError::Algorithm)));
        assert!(matches!(try_check(""), Err(IdTokenError::Missing)));
        assert!(try_check(&whole).is_ok());
    }
}
