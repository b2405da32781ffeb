//! Files that decide who may log in must not be writable by others.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_THE_WORLD: u32 = 0o007;

/// Why a file is not to be trusted.
#[derive(Debug, Error)]
pub(crate) enum UnsafeFile {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is writable by group or others\nhint: chmod go-w {path}", path = path.display())]
    Writable { path: PathBuf },
    #[error("`{path}` is open to everybody\nhint: chmod o-rwx {path}", path = path.display())]
    World { path: PathBuf },
    #[error("`{path}` belongs to user {owner}, who is neither root nor the user of this daemon\nhint: chown root {path}", path = path.display())]
    Owner { path: PathBuf, owner: u32 },
}

/// Whether only root and this daemon's user can have written what `metadata` says of `path`.
pub(crate) fn check_trusted(path: &Path, metadata: &Metadata) -> Result<(), UnsafeFile> {
    let path = path.to_owned();
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(UnsafeFile::Owner { path, owner });
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(UnsafeFile::Writable { path });
    }
    Ok(())
}

/// [`check_trusted`], and that not everybody can read it.
pub(crate) fn check_readable_secret(path: &Path, metadata: &Metadata) -> Result<(), UnsafeFile> {
    check_trusted(path, metadata)?;
    if metadata.mode() & OPEN_TO_THE_WORLD == 0 {
        Ok(())
    } else {
        Err(UnsafeFile::World { path: path.to_owned() })
    }
}

/// Whether the program of a forced command is one that others could replace. A missing program is an error of its own,
/// since it can be installed later.
pub(crate) fn check_program(command: &str) -> Result<(), UnsafeFile> {
    let path = Path::new(command.split(' ').next().unwrap_or_default());
    let metadata =
        std::fs::metadata(path).map_err(|source| UnsafeFile::Read { path: path.to_owned(), source })?;
    check_trusted(path, &metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_others_can_write_or_a_secret_that_all_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let check = |mode: u32, trusted: bool, secret: bool| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(check_trusted(&path, &metadata).is_ok(), trusted, "{mode:o}");
            assert_eq!(check_readable_secret(&path, &metadata).is_ok(), secret, "{mode:o}");
        };
        check(0o600, true, true);
        check(0o640, true, true);
        check(0o644, true, false);
        check(0o660, false, false);
        check(0o646, false, false);
    }
}
