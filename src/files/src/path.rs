//! The same operations by path, for files that operators name. Symbolic links are followed, since configuration is often one.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{ReadFileError, WriteFileError};
use crate::folder::{Attributes, Folder};
use crate::read::{append_whole, check_file};
use crate::trust::Trust;

/// Opens the file at `path`; also returns its size in bytes.
pub fn open(path: &Path, trust: Trust) -> Result<(File, u64), ReadFileError> {
    let failed = |source| ReadFileError::io(path, source);
    // Without NONBLOCK, a FIFO would block the open until there is a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let size = check_file(path, &rustix::fs::fstat(&fd).map_err(failed)?, trust)?;
    Ok((File::from(fd), size))
}

/// Reads the file at `path`. A file longer than `bytes_max` is an error.
pub fn read(path: &Path, trust: Trust, bytes_max: usize) -> Result<Vec<u8>, ReadFileError> {
    let (file, size) = open(path, trust)?;
    let mut bytes = Vec::new();
    append_whole(path, &file, size, bytes_max, &mut bytes)?;
    Ok(bytes)
}

/// Like [`read`], for a text file.
pub fn read_text(path: &Path, trust: Trust, bytes_max: usize) -> Result<String, ReadFileError> {
    let bytes = read(path, trust, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| ReadFileError::NotText(path.to_owned()))
}

/// Checks that the file or folder at `path` is trusted, for callers that do not open it themselves.
pub fn check(path: &Path, trust: Trust) -> Result<(), ReadFileError> {
    let stat = rustix::fs::stat(path).map_err(|source| ReadFileError::io(path, source))?;
    Ok(trust.check(path, &stat)?)
}

/// Checks that the file at `path` is executable and trusted.
pub fn check_program(path: &Path, trust: Trust) -> Result<(), ReadFileError> {
    let stat = rustix::fs::stat(path).map_err(|source| ReadFileError::io(path, source))?;
    check_file(path, &stat, trust.program())?;
    Ok(())
}

/// Replaces the file at `path`: see [`Folder::replace`]. A symbolic link is replaced, not followed.
pub fn replace(path: &Path, bytes: &[u8], attributes: Attributes) -> Result<(), WriteFileError> {
    let (folder, name) = Folder::of_file(path)?;
    folder.replace(name, bytes, attributes)
}

/// Creates the file at `path` unless it exists: see [`Folder::create`].
pub fn create(path: &Path, bytes: &[u8], attributes: Attributes) -> Result<bool, WriteFileError> {
    let (folder, name) = Folder::of_file(path)?;
    folder.create(name, bytes, attributes)
}

/// Makes the file at `path`, which another library wrote, durable.
pub fn sync(path: &Path) -> Result<(), WriteFileError> {
    let failed = |source| WriteFileError::new("sync", path, source);
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    Folder::of_file(path)?.0.sync()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::{Distrust, temporary_name};

    const TRUST: Trust = Trust::ROOT_OR_SELF;

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read(&path, TRUST, 3).unwrap_err().is_missing());
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_text(&path, TRUST, 3).unwrap(), "abc");
        assert!(matches!(read(&path, TRUST, 2), Err(ReadFileError::TooLong { bytes_max: 2, .. })));
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(&path, TRUST, 3).unwrap(), b"\xff");
        assert!(matches!(read_text(&path, TRUST, 3), Err(ReadFileError::NotText(_))));
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(&path, TRUST, 3), Err(ReadFileError::Untrusted(_))));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for refused in [
            read(&path, TRUST, 3).map(drop),
            check_program(&path, TRUST),
            read(folder.path(), TRUST, 3).map(drop),
        ] {
            let Err(ReadFileError::Untrusted(refused)) = refused else { panic!("{refused:?}") };
            assert_eq!(refused.why, Distrust::NotAFile);
        }
    }

    #[test]
    fn a_path_may_be_a_link_and_a_name_in_a_folder_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "abc").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, TRUST, 3).unwrap(), b"abc");
        let opened = Folder::open(folder.path()).unwrap();
        assert!(opened.open_file("file", TRUST).is_ok());
        assert!(matches!(opened.open_file("link", TRUST), Err(ReadFileError::Io { .. })));
        let folder_link = folder.path().join("folder-link");
        symlink(folder.path(), &folder_link).unwrap();
        assert!(matches!(Folder::open(&folder_link), Err(ReadFileError::Io { .. })));
        assert!(matches!(opened.open_folder("folder-link", TRUST), Err(ReadFileError::Io { .. })));
        replace(&folder_link.join("new"), b"", Attributes::mode(0o600)).unwrap();
        replace(&link, b"x", Attributes::mode(0o600)).unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read(&link).unwrap()), (b"abc".to_vec(), b"x".to_vec()));
    }

    #[test]
    fn a_replacement_has_its_own_mode_and_owner_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // A temporary file of a killed writer, which could be a symbolic link.
        symlink("/nonexistent/elsewhere", folder.path().join(temporary_name("file"))).unwrap();
        fs::write(&path, "before").unwrap();
        for mode in [0o600, 0o666] {
            replace(&path, b"after", Attributes { mode, owner: Some((7, 8)) }).unwrap();
            let stat = rustix::fs::stat(&path).unwrap();
            assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (mode, 7, 8));
        }
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(names(folder.path()), ["file"]);
        let missing = replace(&folder.path().join("none/file"), b"", Attributes::mode(0o600)).unwrap_err();
        assert_eq!((missing.what, missing.path), ("open", folder.path().join("none")));
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::create_dir(&path).unwrap();
        let refused = replace(&path, b"x", Attributes::mode(0o600)).unwrap_err();
        assert_eq!((refused.what, refused.path), ("replace", path));
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_file_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let make = |text: &str| create(&path, text.as_bytes(), Attributes::mode(0o600)).unwrap();
        assert_eq!((make("first"), make("second")), (true, false));
        assert_eq!(read(&path, Trust::OWNER.private(), 10).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["file"]);
    }
}
