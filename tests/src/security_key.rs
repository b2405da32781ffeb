//! A security key in software: ssh and sshd see the same as with a FIDO token, but it needs no touch.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64;
use pushkeys_keys::Fingerprint;
use sha2::{Digest as _, Sha256};

use crate::{AgentKeys, string};

/// ssh-keygen's default application.
const APPLICATION: &[u8] = b"ssh:";
/// The flag that the user touched the token.
const USER_PRESENT: u8 = 1;
const ED25519: &str = "sk-ssh-ed25519@openssh.com";
const ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

/// The key pair, and the number of its signatures.
#[derive(Debug)]
pub struct SecurityKey {
    pair: Pair,
    count: u32,
}

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl SecurityKey {
    /// Like a key of `ssh-keygen -t ed25519-sk`.
    #[must_use]
    pub fn ed25519() -> Self {
        Self { pair: Pair::Ed25519(Ed25519KeyPair::generate().expect("randomness")), count: 0 }
    }

    /// Like a key of `ssh-keygen -t ecdsa-sk`.
    #[must_use]
    pub fn ecdsa() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness");
        Self { pair: Pair::Ecdsa(pair), count: 0 }
    }

    /// The public key as in a `.pub` file, without a comment.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {}", self.name(), BASE64.encode(&self.blob()))
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(Sha256::digest(self.blob()).into())
    }

    fn name(&self) -> &'static str {
        match self.pair {
            Pair::Ed25519(_) => ED25519,
            Pair::Ecdsa(_) => ECDSA,
        }
    }

    fn blob(&self) -> Vec<u8> {
        let name = string(self.name().as_bytes());
        match &self.pair {
            Pair::Ed25519(pair) => [name, string(pair.public_key().as_ref()), string(APPLICATION)].concat(),
            Pair::Ecdsa(pair) => {
                [name, string(b"nistp256"), string(pair.public_key().as_ref()), string(APPLICATION)].concat()
            }
        }
    }

    /// As in openssh-portable's PROTOCOL.u2f: the token signs the application, its own flags and counter, and the message.
    fn signature(&mut self, message: &[u8]) -> Vec<u8> {
        self.count += 1;
        let state = [&[USER_PRESENT], self.count.to_be_bytes().as_slice()].concat();
        let signed =
            [Sha256::digest(APPLICATION).as_slice(), &state, Sha256::digest(message).as_slice()].concat();
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.sign(&signed).as_ref().to_vec(),
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), &signed).expect("randomness");
                let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                [string(&positive(r)), string(&positive(s))].concat()
            }
        };
        [string(self.name().as_bytes()), string(&signature), state].concat()
    }
}

impl AgentKeys for SecurityKey {
    fn identities(&mut self) -> Vec<Vec<u8>> {
        vec![self.blob()]
    }

    fn sign(&mut self, blob: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        (blob == self.blob()).then(|| self.signature(message))
    }
}

/// A positive number in the format of RFC 4251: without leading zeros, except one if the first bit is set.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let is_signed = digits.first().is_some_and(|first| *first >= 0x80);
    if is_signed { [&[0], digits.as_slice()].concat() } else { digits }
}
