//! The reader: what a cache holds, as far as it can be trusted.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pushkeys_files::append_at;
use pushkeys_keys::{Fingerprint, SourceName};

use crate::entry::Entry;
use crate::error::{Damage, ReadError, WriteError};
use crate::files::{Directory, read_at};
use crate::head::{HEAD_BYTES_MAX, Head};
use crate::revocation::Revocations;
use crate::search::{Fault, find};
use crate::shard::{SENTINEL_BYTES_MAX, ShardId};
use crate::sources::{self, SOURCES_FILE};
use crate::verdict::{Consultation, Consulted};

/// A reader that finds its generation replaced begins again at HEAD, at most so many times. A generation
/// lives for seconds at least, and opening one takes microseconds.
const ATTEMPTS_MAX: usize = 8;

/// A shard is read whole only up to this size: 512 lines on average, of which each could be an RSA key of 16384 bits.
pub(crate) const SHARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A cache, for reading.
#[derive(Debug)]
pub struct Cache {
    root: Directory,
}

impl Cache {
    /// The cache in the folder `path`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self { root: Directory::open_root(path)? })
    }

    /// The names of the sources that count, sorted.
    pub fn sources(&self) -> Result<Vec<SourceName>, ReadError> {
        if let Some(sources) = sources::read(&self.root)? {
            return Ok(sources);
        }
        let folders = sources::folders(&self.root)?;
        let heads = folders.iter().filter_map(|name| Some(self.source(name).ok()?.head));
        self.check_unnamed(heads)?;
        Ok(folders)
    }

    /// The folders that are called like sources, and do not count: copies, and what is left of others. None in a cache of a
    /// version that named no sources.
    pub fn strangers(&self) -> Result<Vec<SourceName>, ReadError> {
        let Some(sources) = sources::read(&self.root)? else { return Ok(Vec::new()) };
        let is_stranger =
            |name: &SourceName| !sources.contains(name) && self.root.open_directory(name.as_str()).is_ok();
        Ok(sources::folders(&self.root)?.into_iter().filter(is_stranger).collect())
    }

    /// What is revoked on this host.
    pub fn revocations(&self) -> Result<Revocations, ReadError> {
        match Revocations::read(&self.root) {
            Err(ReadError::Missing(_)) => Ok(Revocations::default()),
            other => other,
        }
    }

    /// Makes everything that readers see now survive a power cut.
    pub fn make_durable(&self) -> Result<(), WriteError> {
        for name in self.sources()? {
            match self.source(&name) {
                Ok(source) => {
                    source.generation.sync()?;
                    source.directory.sync()?;
                }
                Err(ReadError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.root.sync()
    }

    /// The source called `name`, as it is now.
    pub fn source(&self, name: &SourceName) -> Result<Source, ReadError> {
        let directory = self.root.open_directory(name.as_str())?;
        Source::open(name.clone(), directory)
    }

    /// What every source says of `fingerprint`, and what is revoked.
    pub fn consult(&self, fingerprint: &Fingerprint) -> Result<Consultation, ReadError> {
        let revocations = self.revocations()?;
        let named = sources::read(&self.root)?;
        let is_named = named.is_some();
        let sources = named.map_or_else(|| sources::folders(&self.root), Ok)?;
        if sources.is_empty() {
            return Err(ReadError::Missing(self.root.path().join("<source>/HEAD")));
        }
        let sources: Vec<Consulted> =
            sources.into_iter().map(|name| self.consult_one(name, fingerprint)).collect();
        if !is_named {
            self.check_unnamed(sources.iter().filter_map(|one| Some(&one.found.as_ref().ok()?.0)))?;
        }
        Ok(Consultation { fingerprint: *fingerprint, sources, revocations })
    }

    /// A version that kept no notes in HEAD named no sources. If any of `heads` has some, the file is lost.
    fn check_unnamed<H: Borrow<Head>>(&self, mut heads: impl Iterator<Item = H>) -> Result<(), ReadError> {
        if heads.any(|head| head.borrow().notes.is_some()) {
            return Err(ReadError::damaged(&self.root.path().join(SOURCES_FILE), Damage::Gone));
        }
        Ok(())
    }

    fn consult_one(&self, name: SourceName, fingerprint: &Fingerprint) -> Consulted {
        let source = self.source(&name);
        let found = source.and_then(|source| source.find(fingerprint));
        Consulted { source: name, found }
    }
}

/// One source of a cache, and the generation that was in force when it was opened.
#[derive(Debug)]
pub struct Source {
    name: SourceName,
    directory: Directory,
    head: Head,
    generation: Directory,
}

impl Source {
    pub(crate) fn open(name: SourceName, directory: Directory) -> Result<Self, ReadError> {
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let head = read_head(&directory)?;
            match directory.open_directory(&generation_name(head.generation)) {
                Ok(generation) => return Ok(Self { name, directory, head, generation }),
                // Either HEAD has moved on since it was read, or the folder is really gone.
                Err(ReadError::Missing(path)) if last == Some(head.generation) => {
                    return Err(ReadError::damaged(&path, Damage::Gone));
                }
                Err(ReadError::Missing(_)) => last = Some(head.generation),
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::Raced(directory.path().to_owned()))
    }

    /// A generation that HEAD does not name.
    pub(crate) fn of_generation(
        name: SourceName,
        directory: Directory,
        head: Head,
    ) -> Result<Self, ReadError> {
        let generation = directory.open_directory(&generation_name(head.generation))?;
        Ok(Self { name, directory, head, generation })
    }

    /// Its name in syncd's configuration.
    #[must_use]
    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// What HEAD said when the source was opened.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The file in which `fingerprint` stands if the source has it.
    #[must_use]
    pub fn shard_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.generation.path().join(self.shard_of(fingerprint).file_name())
    }

    /// The head that was read with it, and the entry of `fingerprint` if the source has one.
    pub fn find(mut self, fingerprint: &Fingerprint) -> Result<(Head, Option<Entry>), ReadError> {
        for _ in 0..ATTEMPTS_MAX {
            let shard = self.shard_of(fingerprint);
            match find_in(&self.generation, &shard, fingerprint) {
                Ok(entry) => return Ok((self.head, entry)),
                // Either the generation was replaced since HEAD was read, or there is something wrong with it.
                Err(error @ (ReadError::Missing(_) | ReadError::Damaged { .. })) => {
                    let newer = Self::open(self.name, self.directory)?;
                    if newer.head.generation == self.head.generation {
                        return Err(error.in_force());
                    }
                    self = newer;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::Raced(self.directory.path().to_owned()))
    }

    /// Whether the generation has `fingerprint`. For the writer, whose generations nobody else replaces.
    pub fn has(&self, fingerprint: &Fingerprint) -> Result<bool, ReadError> {
        let found = find_in(&self.generation, &self.shard_of(fingerprint), fingerprint);
        Ok(found.map_err(ReadError::in_force)?.is_some())
    }

    /// How many shards the generation has.
    #[must_use]
    pub fn shard_count(&self) -> u32 {
        1 << self.head.bits
    }

    /// The bytes of the shard `index`, whatever they are, in place of what is in `bytes`.
    ///
    /// A file of a generation that is no longer in force may be written over meanwhile, from its first byte on. So if it
    /// still begins as it did, all of it was read as it was.
    pub(crate) fn read_shard(&self, index: u32, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        bytes.clear();
        let name = self.shard(index).file_name();
        let (file, size) = self.generation.open_file(&name)?;
        let path = self.generation.path().join(&name);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > SHARD_BYTES_MAX {
            return Err(ReadError::damaged(&path, Damage::LineTooLong));
        }
        let failed = |source: io::Error| ReadError::io(&path, source);
        append_at(&file, bytes, size, 0).map_err(failed)?;
        if begins_with(&file, bytes).map_err(failed)? {
            Ok(())
        } else {
            Err(ReadError::damaged(&path, Damage::Sentinel))
        }
    }

    /// The file of the shard `index`.
    #[must_use]
    pub fn path_of(&self, index: u32) -> PathBuf {
        self.generation.path().join(self.shard(index).file_name())
    }

    /// The number of keys by what the first and the last line of every shard say.
    pub(crate) fn count_keys(&self) -> Result<u64, ReadError> {
        (0..self.shard_count()).map(|index| self.count_in(&self.shard(index))).sum()
    }

    fn count_in(&self, shard: &ShardId) -> Result<u64, ReadError> {
        let name = shard.file_name();
        let path = self.generation.path().join(&name);
        let (file, size) = self.generation.open_file(&name)?;
        let read = |offset| {
            let mut bytes = Vec::new();
            append_at(&file, &mut bytes, SENTINEL_BYTES_MAX, offset)
                .map_err(|source| ReadError::io(&path, source))?;
            Ok::<_, ReadError>(bytes)
        };
        let (begin, end) = (read(0)?, read(size.saturating_sub(SENTINEL_BYTES_MAX as u64))?);
        check_count(shard, &begin, &end).map_err(|damage| ReadError::damaged(&path, damage))
    }

    pub(crate) fn shard(&self, index: u32) -> ShardId {
        ShardId { generation: self.head.generation, bits: self.head.bits, index }
    }

    fn shard_of(&self, fingerprint: &Fingerprint) -> ShardId {
        ShardId::of(fingerprint, self.head.generation, self.head.bits)
    }
}

/// Whether the file still begins as in `bytes`, as far as a shard's first line goes.
fn begins_with(file: &File, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = [0; SENTINEL_BYTES_MAX];
    let filled = read_at(file, &mut buffer, 0)?;
    let before = bytes.get(..bytes.len().min(SENTINEL_BYTES_MAX));
    Ok(buffer.get(..filled) == before)
}

/// The folder of a generation.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("g{generation}")
}

pub(crate) fn read_head(directory: &Directory) -> Result<Head, ReadError> {
    let bytes = directory.read_file("HEAD", HEAD_BYTES_MAX)?;
    Head::parse(&bytes).map_err(|damage| ReadError::damaged(&directory.path().join("HEAD"), damage))
}

fn find_in(
    generation: &Directory,
    shard: &ShardId,
    fingerprint: &Fingerprint,
) -> Result<Option<Entry>, ReadError> {
    let name = shard.file_name();
    let (file, size) = generation.open_file(&name)?;
    find(&file, size, shard, fingerprint).map_err(|fault| match fault {
        Fault::Io(source) => ReadError::io(&generation.path().join(name), source),
        Fault::Damage(damage) => ReadError::damaged(&generation.path().join(name), damage),
    })
}

/// The number of entries by the first line in `begin` and the last one in `end`.
fn check_count(shard: &ShardId, begin: &[u8], end: &[u8]) -> Result<u64, Damage> {
    let first = begin.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let text = end.strip_suffix(b"\n").ok_or(Damage::Sentinel)?;
    let last = text.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = shard.check_first(first)?;
    if shard.check_last(last)? == count { Ok(count) } else { Err(Damage::Count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_over_while_it_is_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0");
        let check = |written: &str, expected: bool| {
            std::fs::write(&path, "#shard 1\nline\n").unwrap();
            let file = File::open(&path).unwrap();
            std::fs::write(&path, written).unwrap();
            assert_eq!(begins_with(&file, b"#shard 1\nline\n").unwrap(), expected, "{written}");
        };
        check("#shard 1\nline\n", true);
        check("#shard 3\nline\n", false);
        check("#shard 1\nline\nline\n", false);
        check("#shard 1\n", false);
        check("", false);
    }
}
