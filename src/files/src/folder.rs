//! An open folder, and operations on the files in it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::{ReadFileError, WriteFileError};
use crate::read::{append_whole, check_file};
use crate::trust::Trust;

/// The prefix of temporary names. Readers never open such files.
const TEMPORARY: &str = ".new-";

/// An open folder. Its files are opened relative to its file descriptor, so changes of its path have no effect, and symbolic
/// links are not followed.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// The attributes of a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its permission bits, regardless of the umask.
    pub mode: u32,
    /// Its uid and gid; `None` for those of this process.
    pub owner: Option<(u32, u32)>,
}

impl Attributes {
    /// Attributes of a file that belongs to the user of this process.
    #[must_use]
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }
}

impl Folder {
    /// Opens the folder `path`, which must not be a symbolic link.
    pub fn open(path: &Path) -> Result<Self, ReadFileError> {
        Self::open_by(path, OFlags::NOFOLLOW).map_err(|source| ReadFileError::io(path, source))
    }

    /// Opens the parent folder of the file `path`, which may be a symbolic link, and returns the file's name in it.
    pub(crate) fn of_file(path: &Path) -> Result<(Self, &Path), WriteFileError> {
        let name = path.file_name().ok_or_else(|| WriteFileError::new("write", path, Errno::ISDIR))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let opened = Self::open_by(parent, OFlags::empty());
        Ok((opened.map_err(|source| WriteFileError::new("open", parent, source))?, Path::new(name)))
    }

    fn open_by(path: &Path, flags: OFlags) -> rustix::io::Result<Self> {
        let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its owner and mode.
    pub fn stat(&self) -> Result<Stat, ReadFileError> {
        rustix::fs::fstat(&self.fd).map_err(|source| ReadFileError::io(&self.path, source))
    }

    /// A second handle for the same folder.
    pub fn try_clone(&self) -> Result<Self, ReadFileError> {
        let failed = |source| ReadFileError::Io { path: self.path.clone(), source };
        Ok(Self { fd: self.fd.try_clone().map_err(failed)?, path: self.path.clone() })
    }

    /// Opens the folder `name` in this folder.
    pub fn open_folder(&self, name: impl AsRef<Path>, trust: Trust) -> Result<Self, ReadFileError> {
        let path = self.path.join(&name);
        let (fd, stat) = self.open_at(name.as_ref(), &path, OFlags::DIRECTORY)?;
        trust.check(&path, &stat)?;
        Ok(Self { fd, path })
    }

    /// Opens the file `name` in this folder; also returns its size in bytes.
    pub fn open_file(&self, name: impl AsRef<Path>, trust: Trust) -> Result<(File, u64), ReadFileError> {
        let path = self.path.join(&name);
        // Without NONBLOCK, a FIFO would block the open until there is a writer.
        let (fd, stat) = self.open_at(name.as_ref(), &path, OFlags::NONBLOCK)?;
        let size = check_file(&path, &stat, trust)?;
        Ok((File::from(fd), size))
    }

    /// Replaces the contents of `bytes` by the file `name`. A file longer than `bytes_max` is an error.
    pub fn read_into(
        &self,
        name: impl AsRef<Path>,
        trust: Trust,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadFileError> {
        bytes.clear();
        let (file, size) = self.open_file(&name, trust)?;
        append_whole(&self.path.join(name), &file, size, bytes_max, bytes)
    }

    fn open_at(&self, name: &Path, path: &Path, flags: OFlags) -> Result<(OwnedFd, Stat), ReadFileError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |source| ReadFileError::io(path, source);
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        Ok((fd, stat))
    }

    /// Creates the file `name` with the contents `bytes`, after removing an existing one. Nothing is synced.
    ///
    /// Only for temporary names, since readers could see a part of the file.
    pub fn write_new(
        &self,
        name: impl AsRef<Path>,
        bytes: &[u8],
        attributes: Attributes,
    ) -> Result<File, WriteFileError> {
        // A killed writer may have left a file, and a symbolic link must not be followed.
        self.remove(&name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // No other user can open it before its owner and mode are set.
        let mut file = rustix::fs::openat(&self.fd, name.as_ref(), flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|source| self.failed("make", &name, source))?;
        let written = attributes.apply_to(&file).and_then(|()| file.write_all(bytes));
        if let Err(source) = written {
            // The disk may be full, so a partial file is removed.
            let _ = self.remove(&name);
            return Err(self.failed("write", &name, source));
        }
        Ok(file)
    }

    /// Atomically and durably replaces the file `name` by one with the contents `bytes`: readers see the old file or the
    /// new one, also after a power failure. Concurrent writers need a lock.
    pub fn replace(
        &self,
        name: impl AsRef<Path>,
        bytes: &[u8],
        attributes: Attributes,
    ) -> Result<(), WriteFileError> {
        let temporary = temporary_name(&name);
        let file = self.write_new(&temporary, bytes, attributes)?;
        let replaced = file
            .sync_all()
            .map_err(|source| self.failed("sync", &temporary, source))
            .and_then(|()| self.rename(&temporary, &name));
        if replaced.is_err() {
            let _ = self.remove(&temporary);
        }
        replaced.and_then(|()| self.sync())
    }

    /// Atomically and durably creates the file `name` with the contents `bytes` unless it exists. Returns whether it was created:
    /// of several concurrent writers, one succeeds.
    pub fn create(
        &self,
        name: impl AsRef<Path>,
        bytes: &[u8],
        attributes: Attributes,
    ) -> Result<bool, WriteFileError> {
        let mut temporary = temporary_name(&name);
        temporary.push(format!("-{}", std::process::id()));
        let file = self.write_new(&temporary, bytes, attributes)?;
        let linked = file.sync_all().and_then(|()| {
            match rustix::fs::linkat(&self.fd, &temporary, &self.fd, name.as_ref(), AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(error) => Err(io::Error::from(error)),
            }
        });
        let removed = self.remove(&temporary);
        let is_made = linked.map_err(|source| self.failed("make", &name, source))?;
        removed.and_then(|()| self.sync()).map(|()| is_made)
    }

    /// Atomically replaces the file `to` by the file `from`.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), WriteFileError> {
        rustix::fs::renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref())
            .map_err(|source| self.failed("replace", to, source))
    }

    /// Removes the file `name` if it exists.
    pub fn remove(&self, name: impl AsRef<Path>) -> Result<(), WriteFileError> {
        match rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(self.failed("remove", name, source)),
        }
    }

    /// Makes all changes of this folder's entries durable.
    pub fn sync(&self) -> Result<(), WriteFileError> {
        rustix::fs::fsync(&self.fd).map_err(|source| WriteFileError::new("sync", &self.path, source))
    }

    fn failed(
        &self,
        what: &'static str,
        name: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> WriteFileError {
        WriteFileError::new(what, self.path.join(name), source)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Attributes {
    /// Sets owner and mode of an open file.
    pub fn apply_to(self, file: &File) -> io::Result<()> {
        // chown(2) may clear mode bits, so the mode is set last.
        if let Some((user, group)) = self.owner {
            rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?)
    }
}

/// The name of the temporary file that replaces the file `name`.
#[must_use]
pub fn temporary_name(name: impl AsRef<Path>) -> OsString {
    let mut temporary = OsString::from(TEMPORARY);
    temporary.push(name.as_ref());
    temporary
}

/// Whether `name` is a result of [`temporary_name`].
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}
