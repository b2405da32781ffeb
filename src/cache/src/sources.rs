//! Which sources count: those that the writers of this cache have named, and no folder that was copied or left there.
//!
//! ```text
//! <cache>/SOURCES       the names of the sources, sorted, with a checksum
//! <cache>/SOURCES.lock  held by the process that replaces it
//! ```
//!
//! A cache of a version that kept no such file is read by its folders, until the daemon has written HEAD again. From then on
//! a lookup without the file has no answer: which sources could have had the key is unknown.

use std::path::Path;

use pushkeys_keys::SourceName;
use rustix::fs::FlockOperation;

use crate::checksum::{append_checksum, verified_lines};
use crate::error::{Damage, ReadError, WriteError};
use crate::files::Directory;

/// The file in the cache's folder. No source can be called so.
pub(crate) const SOURCES_FILE: &str = "SOURCES";

/// The sources of a cache, at most; one lookup consults all of them.
pub(crate) const SOURCES_MAX: usize = 64;

const LOCK_FILE: &str = "SOURCES.lock";
const FORMAT: &str = "format=1\n";
const BYTES_MAX: usize = 4 * 1024;
/// A name of 32 characters and a newline.
const LINE_BYTES_MAX: usize = 33;
const _: () = assert!(FORMAT.len() + SOURCES_MAX * LINE_BYTES_MAX + 64 <= BYTES_MAX);

/// The sources that count, sorted; `None` in a cache without the file.
pub(crate) fn read(root: &Directory) -> Result<Option<Vec<SourceName>>, ReadError> {
    match root.read_file(SOURCES_FILE, BYTES_MAX) {
        Ok(bytes) => parse(&bytes)
            .map(Some)
            .map_err(|damage| ReadError::damaged(&root.path().join(SOURCES_FILE), damage)),
        Err(ReadError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders that a version without the file took for sources.
pub(crate) fn folders(root: &Directory) -> Result<Vec<SourceName>, ReadError> {
    let names = root.names()?;
    let mut sources: Vec<SourceName> =
        names.iter().filter_map(|name| name.to_str()?.parse().ok()).take(SOURCES_MAX).collect();
    sources.sort_unstable();
    Ok(sources)
}

/// Makes exactly `names` the sources of the cache in the folder `cache`, which is made if need be, durably. What the file said
/// before does not matter.
pub fn set_sources(cache: &Path, names: &[SourceName]) -> Result<(), WriteError> {
    let root = open_or_make(cache)?;
    change(&root, |sources| names.clone_into(sources), |_| Ok(Vec::new()))
}

/// Adds `name` to the sources that count, durably.
pub(crate) fn add(root: &Directory, name: &SourceName) -> Result<(), WriteError> {
    change(root, |sources| sources.push(name.clone()), in_file_or_folders)
}

/// Takes `name` out of the sources that count, durably.
pub(crate) fn remove(root: &Directory, name: &SourceName) -> Result<(), WriteError> {
    change(root, |sources| sources.retain(|source| source != name), in_file_or_folders)
}

/// The folder of the cache.
pub(crate) fn open_or_make(cache: &Path) -> Result<Directory, WriteError> {
    match Directory::open_root(cache) {
        Err(ReadError::Missing(_)) => Directory::make_root(cache),
        other => Ok(other?),
    }
}

/// The sources of a version without the file go on to count until the daemon has looked at each.
fn in_file_or_folders(root: &Directory) -> Result<Vec<SourceName>, ReadError> {
    read(root)?.map_or_else(|| folders(root), Ok)
}

fn change(
    root: &Directory,
    change: impl FnOnce(&mut Vec<SourceName>),
    before: impl FnOnce(&Directory) -> Result<Vec<SourceName>, ReadError>,
) -> Result<(), WriteError> {
    // Another writer that changes it takes milliseconds.
    let lock = root.open_lock(LOCK_FILE)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|source| WriteError::io("lock", &root.path().join(LOCK_FILE), source))?;
    let mut sources = before(root)?;
    change(&mut sources);
    sources.sort_unstable();
    sources.dedup();
    if read(root).is_ok_and(|now| now.as_ref() == Some(&sources)) {
        // A writer that was killed may not have got this far.
        root.sync()
    } else {
        root.replace(SOURCES_FILE, to_text(&sources).as_bytes())
    }
}

fn to_text(sources: &[SourceName]) -> String {
    let mut text = FORMAT.to_owned();
    for source in sources {
        text.push_str(source.as_str());
        text.push('\n');
    }
    append_checksum(&mut text);
    text
}

fn parse(bytes: &[u8]) -> Result<Vec<SourceName>, Damage> {
    let lines = verified_lines(bytes, FORMAT)?;
    let sources: Vec<SourceName> = lines
        .split_terminator('\n')
        .map(|name| name.parse().map_err(|_| Damage::Fields))
        .collect::<Result<_, _>>()?;
    if sources.is_sorted_by(|one, next| one < next) && sources.len() <= SOURCES_MAX {
        Ok(sources)
    } else {
        Err(Damage::Order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sources: Vec<SourceName> = vec!["api".parse().unwrap(), "local".parse().unwrap()];
        let text = to_text(&sources);
        assert!(text.starts_with("format=1\napi\nlocal\nchecksum="), "{text}");
        let text = text.into_bytes();
        assert_eq!(parse(&text), Ok(sources));
        for position in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(parse(&flipped).is_err(), "bit {position}");
        }
        for end in 0..text.len() {
            assert!(parse(&text[..end]).is_err(), "cut at {end}");
        }
    }
}
