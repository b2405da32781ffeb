//! Checks that security-critical files belong to root.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const EXECUTABLE: u32 = 0o111;

/// Why a file is not trusted.
#[derive(Debug, Error)]
pub(crate) enum Untrusted {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a regular file", path = .0.display())]
    Kind(PathBuf),
    #[error("`{path}` belongs to user {owner}\nhint: chown root {path}", path = path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("`{path}` is writable by group or others\nhint: chmod go-w {path}", path = .0.display())]
    Writable(PathBuf),
    #[error("`{path}` is not executable\nhint: chmod 755 {path}", path = .0.display())]
    NotExecutable(PathBuf),
}

/// Checks that only root can have written the file `path` with `metadata`.
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    let path = path.to_owned();
    if !metadata.is_file() {
        Err(Untrusted::Kind(path))
    } else if metadata.uid() != 0 {
        Err(Untrusted::Owner { path, owner: metadata.uid() })
    } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        Err(Untrusted::Writable(path))
    } else {
        Ok(())
    }
}

/// Like [`check`], and checks that `path` is executable.
pub(crate) fn check_program(path: &Path) -> Result<(), Untrusted> {
    let metadata =
        std::fs::metadata(path).map_err(|source| Untrusted::Read { path: path.to_owned(), source })?;
    check(path, &metadata)?;
    if metadata.mode() & EXECUTABLE == 0 { Err(Untrusted::NotExecutable(path.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_belongs_to_root_and_is_executable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        assert!(matches!(check_program(&path), Err(Untrusted::Read { .. })));
        assert!(matches!(check_program(folder.path()), Err(Untrusted::Kind(_))));
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let check = |mode: u32, expected: &str| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let message =
                check_program(&path).map_or_else(|error| error.to_string(), |()| "trusted".to_owned());
            assert!(message.contains(expected), "{mode:o}: {message}");
        };
        check(0o755, "trusted");
        check(0o775, "writable by group or others");
        check(0o757, "writable by group or others");
        check(0o644, "not executable");
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        check(0o755, "belongs to user 65534");
    }
}
