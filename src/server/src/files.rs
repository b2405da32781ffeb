//! Files that decide what the service does, or hold a secret: who may have written them, and who may read them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The longest file with the secret of another service, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// Missing, or not for us.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Somebody else could decide what the service does.
    #[error("`{}` can be written by others than its owner (mode {mode:04o}), hint: chmod go-w {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    /// Others could have read a secret.
    #[error("`{}` holds a secret and can be read by everybody (mode {mode:04o}), hint: chmod o= {}", path.display(), path.display())]
    Readable { path: PathBuf, mode: u32 },
    /// Empty, or not one word.
    #[error("`{}` is to hold a secret: one line, without blanks", path.display())]
    Secret { path: PathBuf },
    /// Somebody who is neither root nor the service's user could decide what it does.
    #[error("`{}` belongs to user {owner}, who is neither root nor the user of this process, hint: chown root {}", path.display(), path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// More than it can sensibly hold.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong { path: PathBuf, max: u64 },
}

/// The secret that another service gave us, in a file that only root, we and a group of ours may read.
pub(crate) fn read_secret(path: &Path) -> Result<String, FileError> {
    let text = read_private(path, SECRET_BYTES_MAX)?;
    let secret = text.trim();
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FileError::Secret { path: path.to_owned() });
    }
    Ok(secret.to_owned())
}

/// The text of a file that only root, we and a group of ours may read.
pub(crate) fn read_private(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    let (text, mode) = read_with_mode(path, bytes_max)?;
    if mode & 0o007 != 0 {
        return Err(FileError::Readable { path: path.to_owned(), mode });
    }
    Ok(text)
}

/// The text of a file that nobody but root and we ourselves could have written.
pub(crate) fn read_trusted(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    read_with_mode(path, bytes_max).map(|(text, _)| text)
}

/// The same with the file's permission bits.
fn read_with_mode(path: &Path, bytes_max: u64) -> Result<(String, u32), FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = check_trusted(path, &file.metadata().map_err(failed)?)?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > bytes_max {
        return Err(FileError::TooLong { path: path.to_owned(), max: bytes_max });
    }
    Ok((text, mode))
}

fn check_trusted(path: &Path, metadata: &fs::Metadata) -> Result<u32, FileError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(FileError::Owner { path: path.to_owned(), owner });
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_one_word_in_a_file_that_not_everybody_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&path)
        };
        assert_eq!(read("hush\n", 0o640).unwrap(), "hush");
        assert!(matches!(read("hush", 0o644), Err(FileError::Readable { mode: 0o644, .. })));
        assert!(matches!(read("hush", 0o660), Err(FileError::Mode { .. })));
        for text in ["", "\n", "two words", "two\nlines"] {
            assert!(matches!(read(text, 0o600), Err(FileError::Secret { .. })), "{text:?}");
        }
    }
}
