//! Proof of possession of a private key: a signature by `ssh-keygen -Y sign` (PROTOCOL.sshsig).

use std::sync::Arc;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use pushkeys_keys::{AccountId, Fingerprint, ValidKey};
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};
use thiserror::Error;

use crate::secret::{self, RandomError};

/// The namespace of signatures, so that one for us is good nowhere else, and one for another service is not good here.
pub(crate) const NAMESPACE: &str = "key-ownership@pushkeys";

/// The flag that a security key sets when it was touched (PROTOCOL.u2f).
const USER_PRESENT: u8 = 1;
/// The counter after the flags.
const COUNTER_BYTES: usize = 4;

/// RSA moduli of more bits are verified by sshd and not by the library.
const RSA_BITS_MAX: u32 = 8192;

/// Whether the library can verify signatures of `key`.
pub(crate) fn can_verify(key: &ValidKey) -> bool {
    match key.algorithm() {
        pushkeys_keys::Algorithm::MlDsa44Ed25519 => false,
        pushkeys_keys::Algorithm::Rsa => key.bits() <= RSA_BITS_MAX,
        _ => true,
    }
}

/// The URL of this service in its challenges. It comes from the configuration and never from a request.
#[derive(Debug, Clone)]
pub(crate) struct ServiceUrl(Arc<str>);

impl ServiceUrl {
    /// `url`, without single quotes, since a challenge stands between two in a shell command.
    pub(crate) fn new(url: &str) -> Self {
        Self(url.replace('\'', "%27").into())
    }

    /// The text to sign to tie the key of `fingerprint` to `account`. It says what it is for and at which service, so that
    /// no other service can relay it to its own users unnoticed.
    pub(crate) fn new_challenge(
        &self,
        account: &AccountId,
        fingerprint: Fingerprint,
    ) -> Result<String, RandomError> {
        let Self(url) = self;
        Ok(format!("pushkeys ties {fingerprint} to {account} at {url}, {}", secret::random_id("once")?))
    }
}

/// The command that signs `challenge`, for a POSIX shell; `KEYFILE` stands for the private key's file.
pub(crate) fn command(challenge: &str) -> String {
    format!("printf %s '{challenge}' | ssh-keygen -Y sign -n {NAMESPACE} -f KEYFILE")
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProofRefusal {
    /// Made for another text or namespace, or with another key.
    Other,
    /// Made by a security key without a touch, so a program could have made it alone.
    NotTouched,
}

/// A signature with the public key that verifies it.
pub(crate) struct Proof {
    signature: SshSig,
    fingerprint: Fingerprint,
}

/// Why a text is not a signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "this is not the signature that `ssh-keygen -Y sign` prints: send all of it, from `-----BEGIN SSH SIGNATURE-----` on"
)]
pub(crate) struct ParseProofError;

impl Proof {
    /// The signature in `text`, with any line endings.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseProofError> {
        let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
        let signature = SshSig::from_pem(lines.join("\n") + "\n").map_err(|_| ParseProofError)?;
        let digest = signature.public_key().fingerprint(HashAlg::Sha256).sha256().ok_or(ParseProofError)?;
        Ok(Self { signature, fingerprint: Fingerprint::from_bytes(digest) })
    }

    /// The fingerprint of the key that signed.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Checks that the key signed `challenge` for us, and that a security key was touched for it.
    pub(crate) fn check(&self, challenge: &str) -> Result<(), ProofRefusal> {
        match self.signature.public_key() {
            KeyData::Rsa(key) if self.is_of_rsa(key, challenge.as_bytes()) => Ok(()),
            KeyData::Rsa(_) => Err(ProofRefusal::Other),
            key => {
                let public = PublicKey::from(key.clone());
                public
                    .verify(NAMESPACE, challenge.as_bytes(), &self.signature)
                    .map_err(|_| ProofRefusal::Other)?;
                let is_security_key = matches!(key, KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_));
                if is_security_key && !self.shows_presence() { Err(ProofRefusal::NotTouched) } else { Ok(()) }
            }
        }
    }

    /// The signature of a security key ends with its flags and its counter. Both are signed.
    fn shows_presence(&self) -> bool {
        let bytes = self.signature.signature_bytes();
        let flags = bytes.len().checked_sub(1 + COUNTER_BYTES).and_then(|place| bytes.get(place));
        flags.is_some_and(|flags| flags & USER_PRESENT != 0)
    }

    fn is_of_rsa(&self, key: &RsaPublicKey, challenge: &[u8]) -> bool {
        let Some(parameters) = rsa_parameters(&self.signature.algorithm()) else { return false };
        let (Some(n), Some(e)) = (key.n.as_positive_bytes(), key.e.as_positive_bytes()) else { return false };
        // The namespace is part of what is signed, so a signature for another namespace does not verify.
        let Ok(signed) = SshSig::signed_data(NAMESPACE, self.signature.hash_alg(), challenge) else {
            return false;
        };
        let key = RsaPublicKeyComponents { n, e };
        key.verify(parameters, &signed, self.signature.signature_bytes()).is_ok()
    }
}

/// RFC 8332; a signature with SHA-1 proves nothing.
fn rsa_parameters(algorithm: &Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64ct::{Base64, Encoding as _};
    use sha2::{Digest as _, Sha256, Sha512};

    use super::*;

    const CHALLENGE: &str = "pushkeys ties SHA256:x to acct_7 at https://keys.example.com, once_1";
    const KIND: &[u8] = b"sk-ssh-ed25519@openssh.com";
    const APPLICATION: &[u8] = b"ssh:";

    fn field(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    /// What `ssh-keygen -Y sign` prints of a security key that is asked with `flags` (PROTOCOL.u2f, PROTOCOL.sshsig).
    fn signed_by_security_key(flags: u8) -> String {
        let pair = Ed25519KeyPair::generate().unwrap();
        let namespace = field(NAMESPACE.as_bytes());
        let head = [&namespace[..], &field(b""), &field(b"sha512")].concat();
        let signed = [b"SSHSIG", &head[..], &field(&Sha512::digest(CHALLENGE))].concat();
        let asked =
            [&Sha256::digest(APPLICATION)[..], &[flags], &7_u32.to_be_bytes(), &Sha256::digest(signed)[..]]
                .concat();
        let key = [field(KIND), field(pair.public_key().as_ref()), field(APPLICATION)].concat();
        let signature =
            [&field(KIND)[..], &field(pair.sign(&asked).as_ref()), &[flags], &7_u32.to_be_bytes()].concat();
        let blob = [b"SSHSIG", &1_u32.to_be_bytes()[..], &field(&key), &head, &field(&signature)].concat();
        let text = Base64::encode_string(&blob);
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
    }

    #[test]
    fn a_security_key_proves_something_only_when_it_was_touched() {
        let check = |flags: u8, expected: Result<(), ProofRefusal>| {
            let proof = Proof::parse(&signed_by_security_key(flags)).unwrap();
            assert_eq!(proof.check(CHALLENGE), expected, "{flags:#x}");
            assert_eq!(proof.check("pushkeys ties others"), Err(ProofRefusal::Other), "{flags:#x}");
        };
        check(0x01, Ok(()));
        check(0x05, Ok(()));
        check(0x00, Err(ProofRefusal::NotTouched));
        check(0x04, Err(ProofRefusal::NotTouched));
    }

    #[test]
    fn a_challenge_names_key_account_and_service_and_needs_no_quoting() {
        let fingerprint = Fingerprint::of(b"key");
        let challenge =
            |url: &str| ServiceUrl::new(url).new_challenge(&"acct_7".parse().unwrap(), fingerprint).unwrap();
        let text = challenge("https://keys.example.com");
        let expected = format!("pushkeys ties {fingerprint} to acct_7 at https://keys.example.com, once_");
        assert!(text.starts_with(&expected), "{text}");
        assert!(!challenge("https://keys.example.com/'; id '").contains('\''));
        assert_ne!(text, challenge("https://keys.example.com"));
    }
}
