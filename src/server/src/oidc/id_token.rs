//! Validation of ID tokens (OpenID Connect Core, section 3.1.3.7).

use pushkeys_keys::Hint;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::jws::{PublishedKey, ReadTokenError, SignedToken};

/// Tolerated difference between the two clocks, in seconds.
pub(super) const CLOCK_SKEW_S: i64 = 60;
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
    /// Not a signed token.
    #[error("the provider's ID token is not a signed token (JWS)")]
    Form,
    /// Signed by an algorithm that is not accepted: `none`, one with a shared secret, or an unknown one.
    #[error("the provider's ID token is signed by `{}`, which is not accepted", pushkeys_keys::escape(name))]
    Algorithm {
        name: String,
        #[source]
        hint: Hint,
    },
    /// No published key has its id and type.
    #[error("the provider publishes no key that matches its ID token")]
    NoKey,
    /// Not made with the key that the token names.
    #[error("the signature of the provider's ID token is wrong")]
    Signature,
    /// Another provider's.
    #[error("the provider's ID token was issued by another provider")]
    Issuer,
    /// For another client.
    #[error("the provider's ID token was issued to another client")]
    Audience,
    /// `exp` is missing or past.
    #[error("the provider's ID token has expired or has no expiry")]
    Expired(#[source] Hint),
    /// `nbf` is in the future.
    #[error("the provider's ID token is not valid yet")]
    NotYet(#[source] Hint),
    /// Another nonce, perhaps of another user's attempt.
    #[error("the provider's ID token belongs to another attempt to sign in")]
    Nonce,
    /// Missing, empty or too long.
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

const SET_CLOCKS: &str = "set the clocks of this machine and of the provider";

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
        let auth_time_s = self.time_s("auth_time");
        let ahead_s = auth_time_s.map_or(0, |auth_time_s| auth_time_s.saturating_sub(now_s));
        if ahead_s > CLOCK_SKEW_S {
            return Err(IdTokenError::FutureAuthTime { ahead_s, hint: Hint::new(SET_CLOCKS) });
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
    if age_s > CLOCK_SKEW_S { Err(IdTokenError::OldAuthTime { age_s }) } else { Ok(()) }
}

/// The claims of `token`, if one of `keys` signed it and its contents are as expected at `now_s`.
pub(super) fn check(
    token: &str,
    keys: &[PublishedKey],
    expected: &Expected<'_>,
    now_s: i64,
) -> Result<Claims, IdTokenError> {
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(IdTokenError::Missing);
    }
    let token = SignedToken::read(token).map_err(|error| match error {
        ReadTokenError::Form => IdTokenError::Form,
        ReadTokenError::Algorithm(name) => {
            let hint = "let the provider sign this client's ID tokens by RS256 or ES256";
            IdTokenError::Algorithm { name, hint: Hint::new(hint) }
        }
    })?;
    let key = token.key(keys).ok_or(IdTokenError::NoKey)?;
    let claims = Claims(token.verified(key).ok_or(IdTokenError::Signature)?);
    claims.check(expected, now_s)?;
    Ok(claims)
}

impl Claims {
    fn check(&self, expected: &Expected<'_>, now_s: i64) -> Result<(), IdTokenError> {
        if self.text("iss") != Some(expected.issuer) {
            return Err(IdTokenError::Issuer);
        }
        self.check_audience(expected.client_id)?;
        let set_clocks = || Hint::new(SET_CLOCKS);
        match self.time_s("exp") {
            Some(end_s) if now_s <= end_s.saturating_add(CLOCK_SKEW_S) => {}
            _ => return Err(IdTokenError::Expired(set_clocks())),
        }
        if self.time_s("nbf").is_some_and(|begin_s| begin_s.saturating_sub(CLOCK_SKEW_S) > now_s) {
            return Err(IdTokenError::NotYet(set_clocks()));
        }
        let nonce = self.text("nonce").unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(IdTokenError::Nonce);
        }
        match self.text("sub") {
            Some(subject) if !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX => Ok(()),
            _ => Err(IdTokenError::Subject),
        }
    }

    /// A token with several audiences must name this client as the one that it was issued to (`azp`).
    fn check_audience(&self, client_id: &str) -> Result<(), IdTokenError> {
        let (is_for_us, is_shared) = match self.0.get("aud") {
            Some(Value::String(audience)) => (audience == client_id, false),
            Some(Value::Array(audiences)) => {
                (audiences.iter().any(|audience| audience.as_str() == Some(client_id)), audiences.len() > 1)
            }
            _ => (false, false),
        };
        let is_issued_to_us = match self.0.get("azp") {
            None | Some(Value::Null) => !is_shared,
            Some(party) => party.as_str() == Some(client_id),
        };
        if is_for_us && is_issued_to_us { Ok(()) } else { Err(IdTokenError::Audience) }
    }

    /// A claim that is a time, in whole seconds since 1970. Some providers write it as a string, or with a fraction.
    fn time_s(&self, claim: &str) -> Option<i64> {
        match self.0.get(claim)? {
            Value::String(text) => text.parse().ok(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a cast saturates, and a fraction does not count"
            )]
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://id.example.com", client_id: "us", nonce: "n-1" };
    const NOW_S: i64 = 1_800_000_000;

    /// Another implementation signs and publishes what is read here.
    fn new_key(id: &str) -> (EncodingKey, PublishedKey) {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(id.to_owned());
        (key, PublishedKey::read(&serde_json::to_value(public).unwrap()).unwrap())
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.com", "aud": "us", "sub": "u-7", "nonce": "n-1",
            "iat": NOW_S, "exp": NOW_S + 300,
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
            check(&token(&key, "k", claims), std::slice::from_ref(&public), &EXPECTED, NOW_S).map(|_| ())
        };
        assert!(try_check(&claims()).is_ok());
        let with = |member: &str, value: Value| {
            let mut claims = claims();
            claims[member] = value;
            try_check(&claims)
        };
        for (member, value) in [
            ("aud", json!(["us"])),
            ("azp", json!("us")),
            ("azp", Value::Null),
            ("exp", json!((NOW_S + 1).to_string())),
            ("exp", json!(1_800_000_000.75)),
            ("exp", json!(NOW_S - 60)),
            ("nbf", json!(NOW_S + 60)),
            // Nothing depends on these.
            ("iat", json!("yesterday")),
            ("nbf", json!([])),
            ("email", json!(7)),
            ("email_verified", json!({})),
            ("preferred_username", Value::Null),
        ] {
            let found = with(member, value.clone());
            assert!(found.is_ok(), "{member}: {value}: {found:?}");
        }
        assert!(matches!(with("aud", json!("others")), Err(IdTokenError::Audience)));
        assert!(matches!(with("aud", json!(["us", "others"])), Err(IdTokenError::Audience)));
        assert!(matches!(with("aud", json!([])), Err(IdTokenError::Audience)));
        assert!(matches!(with("azp", json!("others")), Err(IdTokenError::Audience)));
        assert!(matches!(with("azp", json!(7)), Err(IdTokenError::Audience)));
        assert!(matches!(with("iss", json!("https://id.example.com/")), Err(IdTokenError::Issuer)));
        assert!(matches!(with("iss", Value::Null), Err(IdTokenError::Issuer)));
        assert!(matches!(with("exp", json!(NOW_S - 61)), Err(IdTokenError::Expired(_))));
        assert!(matches!(with("exp", Value::Null), Err(IdTokenError::Expired(_))));
        assert!(matches!(with("nbf", json!(NOW_S + 61)), Err(IdTokenError::NotYet(_))));
        assert!(matches!(with("nonce", json!("n-2")), Err(IdTokenError::Nonce)));
        assert!(matches!(with("nonce", Value::Null), Err(IdTokenError::Nonce)));
        assert!(matches!(with("sub", json!("")), Err(IdTokenError::Subject)));
        assert!(matches!(with("sub", json!("x".repeat(256))), Err(IdTokenError::Subject)));
        assert!(matches!(with("sub", json!(7)), Err(IdTokenError::Subject)));
        assert!(matches!(with("sub", Value::Null), Err(IdTokenError::Subject)));
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
        check(json!(NOW_S.to_string()), Ok(Some(NOW_S)));
        check(json!(1_000_000.5), Ok(Some(NOW_S)));
        check(json!(1e300), Err("s in the future"));
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
        let try_check = |token: &str, keys: &[PublishedKey]| check(token, keys, &EXPECTED, NOW_S).map(|_| ());
        let both = [public.clone(), other_public.clone()];
        assert!(try_check(&token(&key, "k", &claims()), &both).is_ok());
        assert!(try_check(&token(&other_key, "o", &claims()), &both).is_ok());
        assert!(matches!(try_check(&token(&other_key, "k", &claims()), &both), Err(IdTokenError::Signature)));
        assert!(matches!(try_check(&token(&key, "k", &claims()), &[other_public]), Err(IdTokenError::NoKey)));
        let unnamed = encode(&Header::new(Algorithm::ES256), &claims(), &key).unwrap();
        assert!(try_check(&unnamed, std::slice::from_ref(&public)).is_ok());
        assert!(matches!(try_check(&unnamed, &both), Err(IdTokenError::NoKey)));
    }

    #[test]
    fn a_token_without_signature_or_with_a_shared_secret_is_refused() {
        use base64ct::{Base64UrlUnpadded, Encoding as _};
        let (key, public) = new_key("k");
        let keys = [public];
        let try_check = |token: &str| check(token, &keys, &EXPECTED, NOW_S).map(|_| ());
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let unsigned = format!("{}.{}.", part(&json!({"alg": "none", "kid": "k"})), part(&claims()));
        let error = try_check(&unsigned).unwrap_err();
        assert_eq!(error.to_string(), "the provider's ID token is signed by `none`, which is not accepted");
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::HS256) };
        let shared = encode(&header, &claims(), &EncodingKey::from_secret(b"hush")).unwrap();
        assert!(matches!(try_check(&shared), Err(IdTokenError::Algorithm { .. })));
        let whole = token(&key, "k", &claims());
        assert!(matches!(try_check(whole.rsplit_once('.').unwrap().0), Err(IdTokenError::Form)));
        assert!(matches!(try_check(""), Err(IdTokenError::Missing)));
        assert!(try_check(&whole).is_ok());
    }
}
