//! Proof of possession of a private key: a signature by `ssh-keygen -Y sign` (PROTOCOL.sshsig).

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

/// The text to sign to tie the key of `fingerprint` to `account`. It says what it is for, and contains no single quote,
/// since it stands between two in a shell command.
pub(crate) fn new_challenge(account: &AccountId, fingerprint: Fingerprint) -> Result<String, RandomError> {
    Ok(format!("pushkeys ties {fingerprint} to {account}, {}", secret::random_id("once")?))
}

/// The command that signs `challenge`, for a POSIX shell; `KEYFILE` stands for the private key's file.
pub(crate) fn command(challenge: &str) -> String {
    format!("printf %s '{challenge}' | ssh-keygen -Y sign -n {NAMESPACE} -f KEYFILE")
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

    /// Whether the key signed `challenge` for us.
    pub(crate) fn is_of(&self, challenge: &str) -> bool {
        match self.signature.public_key() {
            KeyData::Rsa(key) => self.is_of_rsa(key, challenge.as_bytes()),
            key => {
                let key = PublicKey::from(key.clone());
                key.verify(NAMESPACE, challenge.as_bytes(), &self.signature).is_ok()
            }
        }
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
