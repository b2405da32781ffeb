//! Random identifiers and tokens, what is stored of them, and the service's own secret.
//!
//! A token has 256 random bits, so a plain SHA-256 of it cannot be searched and needs no salt.

use std::error::Error;
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use pushkeys_files::{Attributes, Trust, WriteFileError};
use pushkeys_keys::{AccountId, Hint, KeyId, ParseIdError};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::encryption::{Cipher, EncryptError};
use crate::files::of_service_user;

/// Random characters of an identifier: 36^20 is more than 2^103.
const ID_CHARACTERS: usize = 20;
const ID_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Bytes from here on would favour the first letters of the alphabet: 252 is the last multiple of 36.
const ID_BYTE_END: u8 = 252;
/// Random bytes requested at once: nearly always enough for an identifier.
const RANDOM_BYTES: usize = 32;
/// Random bytes in a token and in the service's secret.
const SECRET_BYTES: usize = 32;
/// The token that `clever login` generates is 20 random bytes in base64 without padding, 27 characters. 120 bits are
/// enough for a token that lives for minutes.
const CLI_TOKEN_BYTES_MIN: usize = 20;
const CLI_TOKEN_BYTES_MAX: usize = 256;
const SHA256_BLOCK_BYTES: usize = 64;
/// The secret file: hexadecimal and a newline. A longer file is something else.
const SECRET_FILE_BYTES_MAX: usize = 2 * SECRET_BYTES + 1;
const SECRET_FILE_MODE: u32 = 0o600;

/// The system gave no random bytes.
#[derive(Debug, Error)]
#[error("the system gave no random bytes")]
pub(crate) struct RandomError(#[from] getrandom::Error);

/// Why there is no new identifier.
#[derive(Debug, Error)]
pub(crate) enum NewIdError {
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The alphabet above does not fit the grammar of identifiers.
    #[error(transparent)]
    Parse(#[from] ParseIdError),
}

/// A new `acct_…`.
pub(crate) fn new_account_id() -> Result<AccountId, NewIdError> {
    Ok(random_id("acct")?.parse()?)
}

/// A new `key_…`.
pub(crate) fn new_key_id() -> Result<KeyId, NewIdError> {
    Ok(random_id("key")?.parse()?)
}

/// `prefix`, an underscore, and 20 random characters of `[a-z0-9]`.
pub(crate) fn random_id(prefix: &str) -> Result<String, RandomError> {
    let mut id = String::with_capacity(prefix.len() + 1 + ID_CHARACTERS);
    id.push_str(prefix);
    id.push('_');
    let length = id.len() + ID_CHARACTERS;
    while id.len() < length {
        let random = random_bytes::<RANDOM_BYTES>()?;
        let characters = random
            .iter()
            .filter(|&&byte| byte < ID_BYTE_END)
            .filter_map(|&byte| ID_ALPHABET.get(usize::from(byte) % ID_ALPHABET.len()));
        id.extend(characters.take(length - id.len()).map(|&byte| char::from(byte)));
    }
    Ok(id)
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A new bearer token, which is shown once.
///
/// Deliberately without `Debug` and `Display`: only [`Token::reveal`] shows it.
pub(crate) struct Token(String);

impl Token {
    /// A new token of 256 random bits in hexadecimal behind `prefix` and an underscore.
    pub(crate) fn new(prefix: &str) -> Result<Self, RandomError> {
        Ok(Self(format!("{prefix}_{}", HEXLOWER.encode(&random_bytes::<SECRET_BYTES>()?))))
    }

    /// The text.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub(crate) fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

/// The SHA-256 of a token, which the database holds and finds it by. The timing of a lookup reveals at most the digest,
/// and not the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenDigest([u8; SECRET_BYTES]);

impl TokenDigest {
    /// The digest of a token that a client sent.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The same in hexadecimal.
    pub(crate) fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// The bytes to store.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether `text` can be a token that `clever login` generated: long enough that it cannot be guessed.
pub(crate) fn is_cli_token(text: &str) -> bool {
    (CLI_TOKEN_BYTES_MIN..=CLI_TOKEN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The service's secret, from which the secrets of OAuth tokens and the encryption keys are derived.
///
/// Deliberately without `Debug`.
#[derive(Clone)]
pub(crate) struct ServiceSecret([u8; SECRET_BYTES]);

/// Why the secret file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SecretFileError {
    #[error("there is no secret file `{}`", .0.display())]
    Missing(PathBuf),
    /// Not readable by this user; or readable by others, so that every OAuth token must be considered exposed.
    #[error("cannot use the secret file")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// It did not exist and cannot be created.
    #[error("cannot create the secret file")]
    Make(#[source] WriteFileError),
    /// Truncated or edited.
    #[error("the secret file `{}` does not hold {} hexadecimal digits", path.display(), 2 * SECRET_BYTES)]
    Content {
        path: PathBuf,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl ServiceSecret {
    /// The secret in the file at `path`, which is created, readable by its owner alone, if it does not exist.
    pub(crate) fn load_or_make(path: &Path) -> Result<Self, SecretFileError> {
        match Self::load(path) {
            Err(SecretFileError::Missing(_)) => {
                let text = HEXLOWER.encode(&random_bytes::<SECRET_BYTES>()?) + "\n";
                // If two processes start at the same moment, both use the file of the first.
                pushkeys_files::create(path, text.as_bytes(), Attributes::mode(SECRET_FILE_MODE))
                    .map_err(SecretFileError::Make)?;
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// The secret in the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, SecretFileError> {
        let text = match pushkeys_files::read_text(path, Trust::OWNER.private(), SECRET_FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Err(SecretFileError::Missing(path.to_owned())),
            Err(error) => return Err(SecretFileError::Read(of_service_user(error))),
        };
        let content = || SecretFileError::Content {
            path: path.to_owned(),
            hint: Hint::new("restore it from a backup, or remove it and issue all OAuth tokens again"),
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_end().as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(content).map(Self)
    }

    /// The secret that belongs to the OAuth token `oauth_token`: 64 hexadecimal digits.
    pub(crate) fn oauth_secret(&self, oauth_token: &str) -> String {
        HEXLOWER.encode(&self.derived("oauth token secret", oauth_token))
    }

    /// The cipher for `purpose`; no two uses share one.
    pub(crate) fn cipher(&self, purpose: &str) -> Result<Cipher, EncryptError> {
        Cipher::new(&self.derived("sealing key", purpose))
    }

    /// 256 bits for each pair of arguments, which reveal nothing of the secret. `label` is a constant without NUL.
    fn derived(&self, label: &str, input: &str) -> [u8; SECRET_BYTES] {
        // RFC 2104: a key that is shorter than a block is padded with zeros.
        let mut block = [0; SHA256_BLOCK_BYTES];
        for (byte, &secret) in block.iter_mut().zip(&self.0) {
            *byte = secret;
        }
        let mut hmac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        hmac.update(b"pushkeys ");
        hmac.update(label.as_bytes());
        hmac.update(b"\0");
        hmac.update(input.as_bytes());
        hmac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn an_id_is_made_of_its_prefix_and_twenty_characters() {
        let id = random_id("key").unwrap();
        assert_eq!(id.len(), "key_".len() + ID_CHARACTERS);
        assert!(id.strip_prefix("key_").unwrap().bytes().all(|byte| ID_ALPHABET.contains(&byte)));
        assert_ne!(id, random_id("key").unwrap());
        assert!(new_account_id().unwrap().as_str().starts_with("acct_"));
    }

    #[test]
    fn the_secret_file_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let made = ServiceSecret::load_or_make(&path).unwrap();
        let loaded = ServiceSecret::load_or_make(&path).unwrap();
        assert_eq!(made.oauth_secret("a"), loaded.oauth_secret("a"));
        assert_ne!(made.oauth_secret("a"), made.oauth_secret("b"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_file_that_others_read_or_that_was_cut_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        ServiceSecret::load_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let Err(SecretFileError::Read(refused)) = ServiceSecret::load(&path) else { panic!("it is trusted") };
        assert!(refused.to_string().ends_with("is accessible to group or others (mode 0640)"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(ServiceSecret::load(&path).is_ok());
        fs::write(&path, "abc").unwrap();
        assert!(matches!(ServiceSecret::load_or_make(&path), Err(SecretFileError::Content { .. })));
    }
}
