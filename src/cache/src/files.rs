//! Opening and replacing files of the cache. System calls are here; what they mean is elsewhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use pushkeys_files::{Attributes, Folder, Trust};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom};

use crate::error::{ReadError, WriteError};

/// Where a push host keeps its cache.
pub const CACHE_DIRECTORY: &str = "/var/lib/pushkeys/cache";

/// Owner and group read; the owner alone writes.
const FILE_MODE: u32 = 0o640;
const LOCK_MODE: u32 = 0o600;
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);
/// Names are read by so many bytes: on the stack, since a lookup does it each time.
const NAMES_BUFFER_BYTES: usize = 2048;

/// A folder of the cache that nobody but the cache's owner could have written to.
#[derive(Debug)]
pub(crate) struct Directory {
    folder: Folder,
    owner: u32,
}

impl Directory {
    /// The root of a cache. Its owner owns the cache.
    pub(crate) fn open_root(path: &Path) -> Result<Self, ReadError> {
        let folder = Folder::open(path)?;
        let stat = folder.stat()?;
        Trust::OWNER.check(path, &stat)?;
        Ok(Self { folder, owner: stat.st_uid })
    }

    /// Makes the root of a cache, for its group to read.
    pub(crate) fn make_root(path: &Path) -> Result<Self, WriteError> {
        rustix::fs::mkdir(path, DIRECTORY_MODE)
            .and_then(|()| rustix::fs::chmod(path, DIRECTORY_MODE))
            .map_err(|source| WriteError::io("make", path, source))?;
        Ok(Self::open_root(path)?)
    }

    /// The file `name`, for a writer to lock; it is made if need be, for the cache's owner, and always empty.
    pub(crate) fn open_lock(&self, name: &str) -> Result<File, WriteError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let attributes = self.attributes(LOCK_MODE)?;
        rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(LOCK_MODE))
            .map_err(io::Error::from)
            .map(File::from)
            .and_then(|file| attributes.apply_to(&file).map(|()| file))
            .map_err(|source| WriteError::io("open", &self.path().join(name), source))
    }

    /// The folder `name` in this one.
    pub(crate) fn open_directory(&self, name: &str) -> Result<Self, ReadError> {
        let folder = self.folder.open_folder(name, self.trust())?;
        Ok(Self { folder, owner: self.owner })
    }

    /// The file `name` in this folder, and its size in bytes.
    pub(crate) fn open_file(&self, name: &str) -> Result<(File, u64), ReadError> {
        Ok(self.folder.open_file(name, self.trust())?)
    }

    /// All of the file `name`, of which more than `bytes_max` are refused.
    pub(crate) fn read_file(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.read_file_into(name, bytes_max, &mut bytes)?;
        Ok(bytes)
    }

    /// The same in place of what is in `bytes`, for callers that read many files.
    pub(crate) fn read_file_into(
        &self,
        name: &str,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        Ok(self.folder.read_into(name, self.trust(), bytes_max, bytes)?)
    }

    /// The text of the file `name`, which root may have written too: a person's word to the daemon, of which more than
    /// `bytes_max` are refused.
    pub(crate) fn read_word(&self, name: &str, bytes_max: usize) -> Result<String, ReadError> {
        let trust = if self.is_roots(name) { Trust::ROOT } else { self.trust() };
        let mut bytes = Vec::new();
        self.folder.read_into(name, trust, bytes_max, &mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|_| ReadError::damaged(&self.path().join(name), crate::Damage::Fields))
    }

    fn is_roots(&self, name: &str) -> bool {
        rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_uid == 0)
    }

    fn trust(&self) -> Trust {
        Trust::user(self.owner)
    }

    /// The names in this folder, in no order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, ReadError> {
        let failed = |source| ReadError::io(self.path(), source);
        rustix::fs::seek(&self.folder, SeekFrom::Start(0)).map_err(failed)?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
        let mut entries = RawDir::new(&self.folder, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            names.push(OsString::from_vec(entry.map_err(failed)?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same folder once more.
    pub(crate) fn again(&self) -> Result<Self, ReadError> {
        Ok(Self { folder: self.folder.try_clone()?, owner: self.owner })
    }

    /// Makes the folder `name` in this one, unless it is there, for the cache's group to read.
    pub(crate) fn make_directory(&self, name: &str) -> Result<(), WriteError> {
        let failed = |source| WriteError::io("make", &self.path().join(name), source);
        match rustix::fs::mkdirat(&self.folder, name, DIRECTORY_MODE) {
            // The mode of mkdir is cut by the umask.
            Ok(()) => {
                rustix::fs::chmodat(&self.folder, name, DIRECTORY_MODE, AtFlags::empty()).map_err(failed)
            }
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Makes the file `name` with `bytes` in it, in place of one that a killed writer left behind. See
    /// [`Folder::write_new`]: a batch syncs many at once.
    pub(crate) fn write_new(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<File, WriteError> {
        Ok(self.folder.write_new(name, bytes, self.attributes(FILE_MODE)?)?)
    }

    /// Writes `bytes` over the file `name` from its beginning on, or makes it. Only for files that no reader is led to.
    pub(crate) fn write_over(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.path().join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let fd = rustix::fs::openat(&self.folder, name, flags, mode)
            .map_err(|source| WriteError::io("open", &path, source))?;
        let mut file = File::from(fd);
        rustix::fs::fchmod(&file, mode)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.set_len(bytes.len() as u64))
            .map_err(|source| WriteError::io("write", &path, source))
    }

    /// A file that root writes is the cache's owner's too, or the daemon could not read it, and its folder's group's,
    /// or no lookup could.
    fn attributes(&self, mode: u32) -> Result<Attributes, WriteError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Attributes::mode(mode));
        }
        let stat = rustix::fs::fstat(&self.folder);
        let stat = stat.map_err(|source| WriteError::io("look at", self.path(), source))?;
        Ok(Attributes { mode, owner: Some((self.owner, stat.st_gid)) })
    }

    /// Puts the file `from` in the place of `to`, so that a reader sees the one or the other.
    pub(crate) fn rename(&self, from: impl AsRef<Path>, to: &str) -> Result<(), WriteError> {
        Ok(self.folder.rename(from, to)?)
    }

    /// Makes what was made, replaced and removed in this folder survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        Ok(self.folder.sync()?)
    }

    /// Makes everything that was written to the cache's file system survive a power cut: cheaper than a
    /// sync of each file when there are many.
    pub(crate) fn sync_file_system(&self) -> Result<(), WriteError> {
        rustix::fs::syncfs(&self.folder).map_err(|source| WriteError::io("sync", self.path(), source))
    }

    /// Replaces the file `name` by one that holds `bytes`, durably.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        Ok(self.folder.replace(name, bytes, self.attributes(FILE_MODE)?)?)
    }

    /// Removes the file `name`, if it is there.
    pub(crate) fn remove(&self, name: impl AsRef<Path>) -> Result<(), WriteError> {
        Ok(self.folder.remove(name)?)
    }

    /// Removes the folder `name` and all files in it, if it is there.
    pub(crate) fn remove_directory(&self, name: &str) -> Result<(), WriteError> {
        let path = self.path().join(name);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(WriteError::io("remove", &path, source)),
        }
    }
}

/// Fills `buffer` from `offset` on, as far as the file goes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
