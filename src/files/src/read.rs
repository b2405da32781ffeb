//! Reads a file, or a part of it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::error::{Distrust, ReadFileError, Untrusted};
use crate::trust::Trust;

/// Checks an open regular file, and returns its size in bytes.
pub(crate) fn check_file(path: &Path, stat: &Stat, trust: Trust) -> Result<u64, Untrusted> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Untrusted::new(path, Distrust::NotAFile));
    }
    trust.check(path, stat)?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// Appends all of `file`, which has `size` bytes, to `bytes`.
pub(crate) fn append_whole(
    path: &Path,
    file: &File,
    size: u64,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), ReadFileError> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > bytes_max {
        return Err(ReadFileError::TooLong { path: path.to_owned(), bytes_max });
    }
    append_at(file, bytes, size, 0).map_err(|source| ReadFileError::Io { path: path.to_owned(), source })
}

/// Appends up to `length` bytes from `offset` to `bytes`; fewer at the end of the file.
pub fn append_at(file: &File, bytes: &mut Vec<u8>, length: usize, offset: u64) -> io::Result<()> {
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
