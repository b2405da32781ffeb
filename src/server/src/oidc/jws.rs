//! Signed tokens (JWS in its compact form, RFC 7515), and the keys that they are verified with (JWK, RFC 7517 and 7518).
//!
//! Signatures are verified by `aws-lc-rs`. The forms are read here, since no library that verifies by it knows ES512. What is
//! not needed may be anything, and a key that cannot be used hides none of its neighbours.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Map, Value};

/// The longest number of a key in bytes, which is that of the longest RSA modulus that is verified with.
const NUMBER_BYTES_MAX: usize = 1024;

/// How a token may be signed: by no shared secret, and never not at all.
#[derive(Debug, Clone, Copy)]
enum Algorithm {
    Rsa(&'static RsaParameters),
    Ecdsa { curve: Curve, verification: &'static EcdsaVerificationAlgorithm },
    Ed25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::Ecdsa { curve: Curve::P256, verification: &ECDSA_P256_SHA256_FIXED },
            "ES384" => Self::Ecdsa { curve: Curve::P384, verification: &ECDSA_P384_SHA384_FIXED },
            "ES512" => Self::Ecdsa { curve: Curve::P521, verification: &ECDSA_P521_SHA512_FIXED },
            // RFC 9864 has a second name for it.
            "EdDSA" | "Ed25519" => Self::Ed25519,
            _ => return None,
        })
    }
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            _ => None,
        }
    }

    fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A key that a provider publishes.
#[derive(Debug, Clone)]
pub(super) struct PublishedKey {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    numbers: Numbers,
}

#[derive(Debug, Clone)]
enum Numbers {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
    Ed25519(Vec<u8>),
}

impl PublishedKey {
    /// The key that `value` states, if it is one that signatures could be verified with.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = |member: &str| value.get(member).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let numbers = match text("kty")? {
            "RSA" => Numbers::Rsa { modulus: number(text("n")?)?, exponent: number(text("e")?)? },
            "EC" => {
                let curve = Curve::named(text("crv")?)?;
                let mut point = vec![4];
                for coordinate in [text("x")?, text("y")?] {
                    let digits = number(coordinate)?;
                    // Some leave out leading zeros, which RFC 7518 (section 6.2.1.2) wants.
                    let missing = curve.coordinate_bytes().checked_sub(digits.len())?;
                    point.extend(std::iter::repeat_n(0, missing));
                    point.extend(digits);
                }
                Numbers::Ec { curve, point }
            }
            "OKP" if text("crv")? == "Ed25519" => Numbers::Ed25519(decode(text("x")?)?),
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), numbers })
    }
}

/// A token with the parts of it that say how it is signed.
pub(super) struct SignedToken<'a> {
    algorithm: Algorithm,
    algorithm_name: String,
    key_id: Option<String>,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// Why a text is not a token that is signed as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadTokenError {
    /// Not three parts, or not the JSON that they are to hold.
    Form,
    /// An algorithm that is not accepted, by name.
    Algorithm(String),
}

impl<'a> SignedToken<'a> {
    /// The token in `text`. Nothing of it is verified.
    pub(super) fn read(text: &'a str) -> Result<Self, ReadTokenError> {
        let (signed, signature) = text.rsplit_once('.').ok_or(ReadTokenError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(ReadTokenError::Form)?;
        let header = object(header).ok_or(ReadTokenError::Form)?;
        // What a token calls critical has to be understood (RFC 7515, section 4.1.11), and nothing of that kind is.
        if header.contains_key("crit") {
            return Err(ReadTokenError::Form);
        }
        let name = header.get("alg").and_then(Value::as_str).ok_or(ReadTokenError::Form)?;
        let algorithm = Algorithm::named(name)
            .ok_or_else(|| ReadTokenError::Algorithm(name.chars().take(40).collect()))?;
        Ok(Self {
            algorithm,
            algorithm_name: name.to_owned(),
            key_id: header.get("kid").and_then(Value::as_str).map(str::to_owned),
            signed,
            payload,
            signature: decode(signature).ok_or(ReadTokenError::Form)?,
        })
    }

    /// The key among `keys` that the token names; a provider with a single key of the algorithm need not name it.
    pub(super) fn key<'k>(&self, keys: &'k [PublishedKey]) -> Option<&'k PublishedKey> {
        let mut fitting = keys.iter().filter(|key| self.fits(key));
        match &self.key_id {
            Some(id) => fitting.find(|key| key.id.as_ref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }

    fn fits(&self, key: &PublishedKey) -> bool {
        let is_of_kind = match (self.algorithm, &key.numbers) {
            (Algorithm::Rsa(_), Numbers::Rsa { .. }) | (Algorithm::Ed25519, Numbers::Ed25519(_)) => true,
            (Algorithm::Ecdsa { curve: wanted, .. }, Numbers::Ec { curve, .. }) => wanted == *curve,
            _ => false,
        };
        let is_named = |name: &String| {
            *name == self.algorithm_name
                || matches!(
                    (Algorithm::named(name), self.algorithm),
                    (Some(Algorithm::Ed25519), Algorithm::Ed25519)
                )
        };
        is_of_kind && key.algorithm.as_ref().is_none_or(is_named)
    }

    /// What the token says, if `key` signed it.
    pub(super) fn verified(&self, key: &PublishedKey) -> Option<Map<String, Value>> {
        let (message, signature) = (self.signed.as_bytes(), self.signature.as_slice());
        let verified = match (self.algorithm, &key.numbers) {
            (Algorithm::Rsa(parameters), Numbers::Rsa { modulus: n, exponent: e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Algorithm::Ecdsa { curve: wanted, verification }, Numbers::Ec { curve, point })
                if wanted == *curve =>
            {
                UnparsedPublicKey::new(verification, point).verify(message, signature)
            }
            (Algorithm::Ed25519, Numbers::Ed25519(key)) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
            _ => return None,
        };
        verified.ok()?;
        object(self.payload)
    }
}

/// Base64url; some providers pad it.
fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text.trim_end_matches('=')).ok()
}

/// A number of a key, without the zeros before it that some providers write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = decode(text)?;
    let digits = bytes.get(bytes.iter().take_while(|byte| **byte == 0).count()..)?;
    (1..=NUMBER_BYTES_MAX).contains(&digits.len()).then(|| digits.to_vec())
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decode(text)?).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
        RsaKeyPair,
    };
    use serde_json::json;

    use super::*;

    fn encode(bytes: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(bytes)
    }

    /// A token of `algorithm`, signed by `sign`.
    fn token(algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| encode(value.to_string().as_bytes());
        let signed =
            format!("{}.{}", part(&json!({"alg": algorithm, "kid": "k"})), part(&json!({"sub": "u"})));
        let signature = encode(&sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[track_caller]
    fn check(token: &str, key: &Value, expected: bool) {
        let keys: Vec<_> = PublishedKey::read(key).into_iter().collect();
        let token = SignedToken::read(token).unwrap();
        let claims = token.key(&keys).and_then(|key| token.verified(key));
        assert_eq!(claims.is_some(), expected, "{}: {key}", token.algorithm_name);
    }

    /// `token` counts with `key`, and not when a byte of what was signed, or of the signature, is another one.
    #[track_caller]
    fn check_signature(token: &str, key: &Value) {
        check(token, key, true);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut other = decode(signature).unwrap();
        *other.last_mut().unwrap() ^= 1;
        check(&format!("{signed}.{}", encode(&other)), key, false);
        let (header, _) = signed.split_once('.').unwrap();
        check(&format!("{header}.{}.{signature}", encode(br#"{"sub":"v"}"#)), key, false);
    }

    #[test]
    fn a_token_of_every_curve_is_verified() {
        let random = SystemRandom::new();
        let curves: [(_, _, &'static EcdsaSigningAlgorithm); 3] = [
            ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        for (algorithm, curve, signing) in curves {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let token = token(algorithm, |text| pair.sign(&random, text).unwrap().as_ref().to_vec());
            let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
            let (x, y) = (encode(x), encode(y));
            check_signature(&token, &json!({"kty": "EC", "kid": "k", "crv": curve, "x": x, "y": y}));
            let odd = json!({"kty": "EC", "kid": "k", "alg": algorithm, "use": "sig", "crv": curve,
                "x": format!("{x}=="), "y": y, "x5c": "not a list", "key_ops": 7, "exp": null});
            check(&token, &odd, true);
            check(
                &token,
                &json!({"kty": "EC", "kid": "k", "alg": "RS256", "crv": curve, "x": x, "y": y}),
                false,
            );
            check(
                &token,
                &json!({"kty": "EC", "kid": "k", "use": "enc", "crv": curve, "x": x, "y": y}),
                false,
            );
            check(&token, &json!({"kty": "EC", "kid": "o", "crv": curve, "x": x, "y": y}), false);
            check(&token, &json!({"kty": "EC", "kid": "k", "crv": "P-999", "x": x, "y": y}), false);
        }
    }

    #[test]
    fn a_token_of_every_kind_of_rsa_is_verified() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // DER: two headers of four bytes, a zero, the 256 bytes of the modulus; the exponent is 65537.
        let (n, e) = (encode(&pair.public_key().as_ref()[9..265]), "AQAB");
        let algorithms: [(_, &'static dyn RsaEncoding); 6] = [
            ("RS256", &RSA_PKCS1_SHA256),
            ("RS384", &RSA_PKCS1_SHA384),
            ("RS512", &RSA_PKCS1_SHA512),
            ("PS256", &RSA_PSS_SHA256),
            ("PS384", &RSA_PSS_SHA384),
            ("PS512", &RSA_PSS_SHA512),
        ];
        for (algorithm, encoding) in algorithms {
            let token = token(algorithm, |text| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), text, &mut signature).unwrap();
                signature
            });
            check_signature(&token, &json!({"kty": "RSA", "kid": "k", "n": n, "e": e}));
            let zeros = encode(&[&[0], decode(&n).unwrap().as_slice()].concat());
            check(&token, &json!({"kty": "RSA", "kid": "k", "n": zeros, "e": e, "alg": algorithm}), true);
            check(&token, &json!({"kty": "RSA", "kid": "k", "n": n, "e": e, "alg": "RSA-OAEP"}), false);
        }
    }

    #[test]
    fn a_token_of_ed25519_is_verified_under_both_of_its_names() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = encode(pair.public_key().as_ref());
        for algorithm in ["EdDSA", "Ed25519"] {
            let token = token(algorithm, |text| pair.sign(text).as_ref().to_vec());
            check_signature(
                &token,
                &json!({"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": x, "alg": "EdDSA"}),
            );
            check(&token, &json!({"kty": "OKP", "kid": "k", "crv": "Ed448", "x": x}), false);
        }
    }

    #[test]
    fn what_is_not_signed_by_a_private_key_is_no_token() {
        let part = |value: Value| encode(value.to_string().as_bytes());
        let read = |header: Value| {
            SignedToken::read(&format!("{}.{}.AAAA", part(header), part(json!({})))).map(|_| ())
        };
        assert_eq!(read(json!({"alg": "RS256", "typ": 7, "kid": 7})), Ok(()));
        for name in ["none", "HS256", "HS512", "rs256", "ES256K"] {
            assert_eq!(read(json!({"alg": name})), Err(ReadTokenError::Algorithm(name.to_owned())));
        }
        for header in
            [json!({}), json!([]), json!({"alg": 7}), json!({"alg": "RS256", "crit": ["b64"], "b64": false})]
        {
            assert_eq!(read(header), Err(ReadTokenError::Form));
        }
        for text in ["", "a", "a.b", "..", "a.b.c"] {
            assert_eq!(SignedToken::read(text).map(|_| ()), Err(ReadTokenError::Form), "{text}");
        }
    }
}
