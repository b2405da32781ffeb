//! Reading of files that control the service or contain a secret.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use pushkeys_files::{ReadFileError, Trust};
use pushkeys_keys::Hint;
use thiserror::Error;

/// The longest file with the secret of another service, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Read(#[from] ReadFileError),
    /// Empty, or not one word.
    #[error("`{}` must contain a secret: one line, without blanks", path.display())]
    Secret { path: PathBuf },
}

/// The secret for another service, from a file that only root, the service's user and its group may read.
pub(crate) fn read_secret(path: &Path) -> Result<String, FileError> {
    let text = read_private(path, SECRET_BYTES_MAX)?;
    let secret = text.trim();
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FileError::Secret { path: path.to_owned() });
    }
    Ok(secret.to_owned())
}

/// The text of a file that only root, the service's user and its group may read.
pub(crate) fn read_private(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    Ok(pushkeys_files::read_text(path, Trust::ROOT_OR_SELF.secret(), bytes_max)?)
}

/// The text of a file that only root and the service's user may write.
pub(crate) fn read_trusted(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    Ok(pushkeys_files::read_text(path, Trust::ROOT_OR_SELF, bytes_max)?)
}

/// `error` about a file that only the service's user may open, with a hint for other users.
pub(crate) fn of_service_user(error: ReadFileError) -> Box<dyn Error + Send + Sync> {
    let is_denied = matches!(&error, ReadFileError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    if is_denied {
        Hint::because("run this command as the service's user", error).into()
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use pushkeys_files::{Distrust, Untrusted};

    use super::*;

    #[test]
    fn a_secret_is_one_word_in_a_file_that_others_cannot_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&path)
        };
        assert_eq!(read("hush\n", 0o640).unwrap(), "hush");
        let check_refused = |mode: u32, expected: Distrust| {
            let Err(FileError::Read(ReadFileError::Untrusted(Untrusted { why, .. }))) = read("hush", mode)
            else {
                panic!("{mode:o} is trusted")
            };
            assert_eq!(why, expected);
        };
        check_refused(0o644, Distrust::Open { mode: 0o644 });
        check_refused(0o660, Distrust::Writable { mode: 0o660 });
        for text in ["", "\n", "two words", "two\nlines"] {
            assert!(matches!(read(text, 0o600), Err(FileError::Secret { .. })), "{text:?}");
        }
    }
}
