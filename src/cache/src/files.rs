//! Opening and replacing files of the cache. System calls are here; what they mean is elsewhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, SeekFrom, Stat, Uid};

use crate::error::{ReadError, WriteError};

/// Where a push host keeps its cache.
pub const CACHE_DIRECTORY: &str = "/var/lib/pushkeys/cache";

/// Owner and group read; the owner alone writes.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);
/// Names are read by so many bytes: on the stack, since a look-up does it each time.
const NAMES_BUFFER_BYTES: usize = 2048;
/// Where the write bits of group and others are.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder of the cache that nobody but the cache's owner could have written to.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    owner: u32,
}

impl Directory {
    /// The root of a cache. Whoever owns it owns the cache.
    pub(crate) fn open_root(path: &Path) -> Result<Self, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|source| ReadError::io(path, source))?;
        let stat = rustix::fs::fstat(&fd).map_err(|source| ReadError::io(path, source))?;
        check(path, &stat, stat.st_uid)?;
        Ok(Self { fd, path: path.to_owned(), owner: stat.st_uid })
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
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .and_then(|file| self.give_to_owner(&file).map(|()| file))
            .map_err(|source| WriteError::io("open", &self.path.join(name), source))
    }

    /// The folder `name` in this one.
    pub(crate) fn open_directory(&self, name: &str) -> Result<Self, ReadError> {
        let path = self.path.join(name);
        let (fd, _) = self.open_at(name, &path, OFlags::DIRECTORY)?;
        Ok(Self { fd, path, owner: self.owner })
    }

    /// The file `name` in this folder, and its size in bytes.
    pub(crate) fn open_file(&self, name: &str) -> Result<(File, u64), ReadError> {
        let path = self.path.join(name);
        // A FIFO in place of a file would make the reader wait for a writer.
        let (fd, stat) = self.open_at(name, &path, OFlags::NONBLOCK)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ReadError::Unsafe { path, why: "it is not a regular file".to_owned() });
        }
        Ok((File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// All of the file `name`, of which more than `bytes_max` are refused.
    pub(crate) fn read_file(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.read_file_into(name, bytes_max, &mut bytes)?;
        Ok(bytes)
    }

    /// The same in place of what is in `bytes`, for whoever reads many files.
    pub(crate) fn read_file_into(
        &self,
        name: &str,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        bytes.clear();
        let (file, size) = self.open_file(name)?;
        let path = self.path.join(name);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > bytes_max {
            return Err(ReadError::damaged(&path, crate::Damage::LineTooLong));
        }
        append_at(&file, bytes, size, 0).map_err(|source| ReadError::io(&path, source))
    }

    /// The text of the file `name`, which root may have written too: a person's word to the daemon, of which more than
    /// `bytes_max` are refused.
    pub(crate) fn read_word(&self, name: &str, bytes_max: usize) -> Result<String, ReadError> {
        let owner = if self.is_roots(name) { 0 } else { self.owner };
        let bytes = self.again()?.owned_by(owner).read_file(name, bytes_max)?;
        String::from_utf8(bytes).map_err(|_| ReadError::damaged(&self.path.join(name), crate::Damage::Fields))
    }

    fn is_roots(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_uid == 0)
    }

    fn owned_by(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// The names in this folder, in no order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, ReadError> {
        let failed = |source| ReadError::io(&self.path, source);
        rustix::fs::seek(&self.fd, SeekFrom::Start(0)).map_err(failed)?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            names.push(OsString::from_vec(entry.map_err(failed)?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same folder once more.
    pub(crate) fn again(&self) -> Result<Self, ReadError> {
        let fd = self.fd.try_clone().map_err(|source| ReadError::io(&self.path, source))?;
        Ok(Self { fd, path: self.path.clone(), owner: self.owner })
    }

    /// Opens `name` without following it, and trusts it as far as its owner and mode go.
    fn open_at(&self, name: &str, path: &Path, flags: OFlags) -> Result<(OwnedFd, Stat), ReadError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|source| ReadError::io(path, source))?;
        let stat = rustix::fs::fstat(&fd).map_err(|source| ReadError::io(path, source))?;
        check(path, &stat, self.owner)?;
        Ok((fd, stat))
    }

    /// Makes the folder `name` in this one, unless it is there, for the cache's group to read.
    pub(crate) fn make_directory(&self, name: &str) -> Result<(), WriteError> {
        let failed = |source| WriteError::io("make", &self.path.join(name), source);
        match rustix::fs::mkdirat(&self.fd, name, DIRECTORY_MODE) {
            // The mode of mkdir is cut by the umask.
            Ok(()) => rustix::fs::chmodat(&self.fd, name, DIRECTORY_MODE, AtFlags::empty()).map_err(failed),
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Makes the file `name` with `bytes` in it, in place of one that a killed writer left behind.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<File, WriteError> {
        let path = self.path.join(name);
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, FILE_MODE)
            .map_err(|source| WriteError::io("make", &path, source))?;
        let mut file = File::from(fd);
        let written = rustix::fs::fchmod(&file, FILE_MODE)
            .and_then(|()| self.give_to_owner(&file))
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(bytes));
        if let Err(source) = written {
            // The disk may be full: what was begun must not take up room.
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            return Err(WriteError::io("write", &path, source));
        }
        Ok(file)
    }

    /// Writes `bytes` over the file `name` from its beginning on, or makes it. Only for files that no reader is led to.
    pub(crate) fn write_over(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, FILE_MODE)
            .map_err(|source| WriteError::io("open", &path, source))?;
        let mut file = File::from(fd);
        rustix::fs::fchmod(&file, FILE_MODE)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.set_len(bytes.len() as u64))
            .map_err(|source| WriteError::io("write", &path, source))
    }

    /// A file that root writes is the cache's owner's too, or the daemon could not read it, and its folder's group's,
    /// or no look-up could.
    fn give_to_owner(&self, file: &File) -> rustix::io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let group = Gid::from_raw(rustix::fs::fstat(&self.fd)?.st_gid);
        rustix::fs::fchown(file, Some(Uid::from_raw(self.owner)), Some(group))
    }

    /// Puts the file `from` in the place of `to`, so that a reader sees the one or the other.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), WriteError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|source| WriteError::io("replace", &self.path.join(to), source))
    }

    /// Makes what was made, replaced and removed in this folder survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        rustix::fs::fsync(&self.fd).map_err(|source| WriteError::io("sync", &self.path, source))
    }

    /// Makes everything that was written to the cache's file system survive a power cut: cheaper than a
    /// sync of each file when there are many.
    pub(crate) fn sync_file_system(&self) -> Result<(), WriteError> {
        rustix::fs::syncfs(&self.fd).map_err(|source| WriteError::io("sync", &self.path, source))
    }

    /// Replaces the file `name` by one that holds `bytes`, durably.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let temporary = temporary_name(name);
        let file = self.write_new(&temporary, bytes)?;
        let replaced = file
            .sync_all()
            .map_err(|source| WriteError::io("sync", &self.path.join(&temporary), source))
            .and_then(|()| self.rename(&temporary, name));
        if replaced.is_err() {
            let _ = rustix::fs::unlinkat(&self.fd, temporary.as_str(), AtFlags::empty());
        }
        replaced.and_then(|()| self.sync())
    }

    /// Removes the file `name`, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), WriteError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(source) => Err(WriteError::io("remove", &self.path.join(name), source)),
        }
    }

    /// Removes the folder `name` and all files in it, if it is there.
    pub(crate) fn remove_directory(&self, name: &str) -> Result<(), WriteError> {
        let path = self.path.join(name);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(WriteError::io("remove", &path, source)),
        }
    }
}

/// The name under which a file is written before it takes its place; no reader ever asks for it.
pub(crate) fn temporary_name(name: &str) -> String {
    format!(".new-{name}")
}

/// Whether [`temporary_name`] made `name`.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(".new-")
}

/// Appends up to `length` bytes from `offset` on to `bytes`, as far as the file goes.
pub(crate) fn append_at(file: &File, bytes: &mut Vec<u8>, length: usize, offset: u64) -> io::Result<()> {
    bytes.reserve_exact(length);
    let end = bytes.len() + length;
    let mut offset = offset;
    while bytes.len() < end {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), offset) {
            Ok(0) => break,
            Ok(count) => offset += count as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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

fn check(path: &Path, stat: &Stat, owner: u32) -> Result<(), ReadError> {
    let why = if stat.st_uid != owner {
        format!("it belongs to user {} and not, like the cache, to user {owner}", stat.st_uid)
    } else if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        format!("its mode {:03o} lets others write", stat.st_mode & 0o777)
    } else {
        return Ok(());
    };
    Err(ReadError::Unsafe { path: path.to_owned(), why })
}
