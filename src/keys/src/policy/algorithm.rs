//! The types of key that are accepted.

use std::fmt;

/// The type of a key. It is displayed as SSH names it, such as `ssh-ed25519`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8709).
    Ed25519,
    /// Ed25519 in a FIDO authenticator (openssh-portable, `PROTOCOL.u2f`).
    SkEd25519,
    /// ECDSA on NIST P-256 (RFC 5656).
    EcdsaP256,
    /// ECDSA on NIST P-384 (RFC 5656).
    EcdsaP384,
    /// ECDSA on NIST P-521 (RFC 5656).
    EcdsaP521,
    /// ECDSA on NIST P-256 in a FIDO authenticator (openssh-portable, `PROTOCOL.u2f`).
    SkEcdsaP256,
    /// RSA (RFC 4253 section 6.6), whatever hash a signature of it uses.
    Rsa,
    /// ML-DSA-44 and Ed25519, both of which have to sign (draft-miller-sshm-mldsa44-ed25519-composite-sigs).
    MlDsa44Ed25519,
}

impl Algorithm {
    /// Every accepted type.
    pub const ALL: [Self; 8] = [
        Self::Ed25519,
        Self::SkEd25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::SkEcdsaP256,
        Self::Rsa,
        Self::MlDsa44Ed25519,
    ];

    /// The name in SSH, which begins the line and the encoding of a key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
            Self::Rsa => "ssh-rsa",
            Self::MlDsa44Ed25519 => "ssh-mldsa44-ed25519",
        }
    }

    /// The name that `ssh-keygen -l` prints in brackets.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ED25519",
            Self::SkEd25519 => "ED25519-SK",
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => "ECDSA",
            Self::SkEcdsaP256 => "ECDSA-SK",
            Self::Rsa => "RSA",
            Self::MlDsa44Ed25519 => "MLDSA44-ED25519",
        }
    }

    /// The first release of OpenSSH that accepts such keys by default, as major and minor number; `None` if it is older
    /// than every release that still gets fixes.
    #[must_use]
    pub fn since_openssh(self) -> Option<(u32, u32)> {
        match self {
            Self::MlDsa44Ed25519 => Some((10, 6)),
            _ => None,
        }
    }

    /// The algorithm that SSH calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
