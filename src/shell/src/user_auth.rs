//! The keys that authenticated the connection: sshd lists them in the file `SSH_USER_AUTH` when `ExposeAuthInfo` is on.
//!
//! Up to OpenSSH 9.8 the options of a key, and so the forced command with its identity, stay in force after a wrong
//! signature by it. The file lists the methods that succeeded, one per line: `publickey TYPE BASE64`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};

use base64ct::{Base64, Encoding as _};
use pushkeys_keys::Fingerprint;
use thiserror::Error;

/// The largest packet of sshd, and so the largest key, has 256 KiB (`PACKET_MAX_SIZE`).
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a session does not belong to its key.
#[derive(Debug, Error)]
pub(crate) enum UserAuthError {
    #[error("cannot read the file of `SSH_USER_AUTH`")]
    Read(#[from] io::Error),
    #[error("sshd authenticated this connection by other means than key `{0}`")]
    OtherKey(Fingerprint),
}

/// Checks that sshd's file `path`, if there is one, lists the key of `fingerprint`.
pub(crate) fn check(path: Option<&OsStr>, fingerprint: &Fingerprint) -> Result<(), UserAuthError> {
    let Some(path) = path else { return Ok(()) };
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    if names(&text, fingerprint) { Ok(()) } else { Err(UserAuthError::OtherKey(*fingerprint)) }
}

fn names(text: &str, fingerprint: &Fingerprint) -> bool {
    text.lines().any(|line| {
        let mut words = line.split(' ');
        let key = (words.next(), words.next(), words.next());
        let (Some("publickey"), Some(_), Some(base64)) = key else { return false };
        Base64::decode_vec(base64).is_ok_and(|blob| Fingerprint::of(&blob) == *fingerprint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "publickey ssh-ed25519 YW5h";

    #[track_caller]
    fn check_text(text: &str, expected: bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let checked = check(Some(file.path().as_os_str()), &Fingerprint::of(b"ana"));
        assert_eq!(checked.is_ok(), expected, "{text:?}: {checked:?}");
    }

    #[test]
    fn the_key_that_signed_is_the_key_of_the_session() {
        check_text(&format!("{ANA}\n"), true);
        check_text(ANA, true);
        check_text(&format!("publickey ssh-ed25519 YmVu\n{ANA}\n"), true);
        for text in [
            "",
            "publickey ssh-ed25519 YmVu\n",
            "password\n",
            "hostbased ssh-ed25519 YW5h\n",
            "publickey YW5h\n",
            "publickey ssh-ed25519 YW5h=\n",
        ] {
            check_text(text, false);
        }
    }

    #[test]
    fn a_missing_file_is_accepted_and_an_unreadable_one_is_refused() {
        let fingerprint = Fingerprint::of(b"ana");
        assert!(check(None, &fingerprint).is_ok());
        assert!(check(Some(OsStr::new("/nonexistent")), &fingerprint).is_err());
    }
}
