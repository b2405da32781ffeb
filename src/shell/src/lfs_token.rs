//! Tokens that prove to a Git LFS server what this host has allowed.
//!
//! A token is a JSON Web Token (RFC 7519), signed with HMAC-SHA-256 under a key that this host and the server share.
//! Libraries for it exist in every language. The server verifies the signature, that `alg` is `HS256`, and `exp`, and
//! serves what the claims allow:
//!
//! | claim | value |
//! |---|---|
//! | `iss` | `pushkeys` |
//! | `sub`, `name`, `key` | account id, its name if it has one, key id |
//! | `iat`, `exp` | issued at and expires at, in seconds since 1970 |
//! | `path` | the repository's path below the root of this host, such as `acct_7/app.git` |
//! | `operation` | `upload` or `download` |
//! | `scopes` | the same for a server that uses scopes (Giftless): `obj:acct_7/app/*:read,write` or `…:read` |

use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use pushkeys_files::{ReadFileError, Trust};
use pushkeys_keys::{Hint, shell_word};
use sha2::Sha256;
use thiserror::Error;

use crate::identity::Identity;
use crate::json::Object;
use crate::request::LfsOperation;

/// The shortest key in bytes (RFC 7518 section 3.2).
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: usize = 4096;

/// Why the key cannot be used.
#[derive(Debug, Error)]
pub(crate) enum LfsKeyError {
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error("`{}` does not have {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes", path.display())]
    Length {
        path: PathBuf,
        #[source]
        hint: Hint,
    },
}

/// The key that signs tokens. It never appears in a message.
pub(crate) struct LfsKey(Vec<u8>);

/// The contents of a token.
#[derive(Debug)]
pub(crate) struct LfsGrant<'a> {
    pub(crate) identity: &'a Identity,
    /// The repository's path below the root.
    pub(crate) path: &'a str,
    pub(crate) operation: LfsOperation,
    pub(crate) issued_at: Timestamp,
    pub(crate) lifetime_s: u32,
}

impl LfsKey {
    /// The key in the file `path`, without blanks around it.
    pub(crate) fn read(path: &Path) -> Result<Self, LfsKeyError> {
        let length = || {
            let hint = format!("openssl rand -hex 32 >{}", shell_word(&path.to_string_lossy()));
            LfsKeyError::Length { path: path.to_owned(), hint: hint.into() }
        };
        let key = match pushkeys_files::read(path, Trust::ROOT.secret(), KEY_BYTES_MAX) {
            Err(ReadFileError::TooLong { .. }) => return Err(length()),
            other => other?.trim_ascii().to_owned(),
        };
        if key.len() < KEY_BYTES_MIN {
            return Err(length());
        }
        Ok(Self(key))
    }

    /// The signed token for `grant`.
    pub(crate) fn sign(&self, grant: &LfsGrant<'_>) -> String {
        let header = Object::default().text("alg", Some("HS256")).text("typ", Some("JWT")).finish();
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signed = format!("{}.{}", encode(&header), encode(&grant.claims()));
        // HMAC takes a key of any length, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(signed.as_bytes());
        format!("{signed}.{}", Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes()))
    }
}

impl LfsGrant<'_> {
    /// When the token expires.
    pub(crate) fn expires_at_s(&self) -> i64 {
        self.issued_at.as_second() + i64::from(self.lifetime_s)
    }

    fn claims(&self) -> String {
        let Self { identity, path, operation, issued_at, .. } = self;
        let actions = match operation {
            LfsOperation::Upload => "read,write",
            LfsOperation::Download => "read",
        };
        let scope = format!("obj:{}/*:{actions}", path.strip_suffix(".git").unwrap_or(path));
        Object::default()
            .text("iss", Some("pushkeys"))
            .text("sub", Some(identity.account.as_str()))
            .text("name", identity.account_name.as_deref())
            .text("key", Some(identity.key_id.as_str()))
            .number("iat", issued_at.as_second())
            .number("exp", self.expires_at_s())
            .text("path", Some(path))
            .text("operation", Some(operation.word()))
            .text("scopes", Some(&scope))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use pushkeys_keys::Fingerprint;

    use super::*;

    fn identity() -> Identity {
        Identity {
            login: "git".parse().unwrap(),
            account: "acct_7".parse().unwrap(),
            account_name: Some("ana \"\\".to_owned()),
            key_id: "key_42".parse().unwrap(),
            key_name: None,
            fingerprint: Fingerprint::of(b"ana"),
            address: None,
        }
    }

    /// Computed with `PyJWT` 2.15: `jwt.encode(claims, key, "HS256")` with the claims in this order.
    #[test]
    fn a_token_is_a_json_web_token() {
        let identity = identity();
        let grant = LfsGrant {
            identity: &identity,
            path: "acct_7/app.git",
            operation: LfsOperation::Upload,
            issued_at: Timestamp::from_second(1_800_000_000).unwrap(),
            lifetime_s: 60,
        };
        let expected = "{\"iss\":\"pushkeys\",\"sub\":\"acct_7\",\"name\":\"ana \\\"\\\\\",\"key\":\"key_42\",\"iat\":1800000000,\
                        \"exp\":1800000060,\"path\":\"acct_7/app.git\",\"operation\":\"upload\",\
                        \"scopes\":\"obj:acct_7/app/*:read,write\"}";
        assert_eq!(grant.claims(), expected);
        let token = LfsKey(b"0123456789abcdef0123456789abcdef".to_vec()).sign(&grant);
        assert_eq!(
            token,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
             eyJpc3MiOiJwdXNoa2V5cyIsInN1YiI6ImFjY3RfNyIsIm5hbWUiOiJhbmEgXCJcXCIsImtleSI6ImtleV80MiIsImlhdCI6MTgwMDAwMDAw\
             MCwiZXhwIjoxODAwMDAwMDYwLCJwYXRoIjoiYWNjdF83L2FwcC5naXQiLCJvcGVyYXRpb24iOiJ1cGxvYWQiLCJzY29wZXMiOiJvYmo6YWNj\
             dF83L2FwcC8qOnJlYWQsd3JpdGUifQ.\
             SDK333UrTH-w6OLBfZH7UVhecnLWX133_FJZ7pw13Zo"
        );
        let read = LfsGrant { operation: LfsOperation::Download, ..grant };
        assert!(read.claims().contains("\"operation\":\"download\",\"scopes\":\"obj:acct_7/app/*:read\"}"));
    }

    #[test]
    fn a_short_or_readable_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let check = |text: &str, mode: u32, expected: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let message = LfsKey::read(&path).map_or_else(|error| error.to_string(), |_| "a key".to_owned());
            assert!(message.contains(expected) && !message.contains("0123456789"), "{mode:o}: {message}");
        };
        assert!(matches!(LfsKey::read(&path), Err(LfsKeyError::File(ReadFileError::Io { .. }))));
        let key = "0123456789abcdef0123456789abcdef\n";
        check(key, 0o640, "a key");
        check(key, 0o644, "accessible to all users");
        check(key, 0o660, "writable by group or others");
        check("0123456789", 0o640, "does not have 32 to 4096 bytes");
        check(&"x".repeat(5000), 0o640, "does not have 32 to 4096 bytes");
    }
}
