//! A new generation, made beside the one in force, and what taking it would change.

use std::cmp::Ordering;

use pushkeys_keys::{Fingerprint, SourceName};

use crate::batch::{Touched, read_merged};
use crate::entry::Entry;
use crate::error::{ReadError, WriteError};
use crate::files::Directory;
use crate::head::{Head, Stamps};
use crate::merge::{Applied, ShardChanges, lines_by_fingerprint};
use crate::reader::{Source, generation_name};
use crate::shard::{ShardId, bits_for};

/// The number of keys is estimated when so many have come: fingerprints are spread evenly, so the share of
/// their range that the first of them fill is the share of all keys that they are, within 2 %.
const ENTRIES_TO_ESTIMATE_FROM: usize = 4096;

/// A user may choose keys so that the estimate is absurd; it costs at most 2^18 small files, which
/// are then made again by the true number.
const ESTIMATE_MAX: u64 = 64 * 1024 * 1024;

/// A generation that is being written, in ascending order of the fingerprints' bytes.
#[derive(Debug)]
pub struct NextGeneration {
    folder: Folder,
    state: State,
    last: Option<Fingerprint>,
    count: u64,
}

#[derive(Debug)]
enum State {
    Estimating(Vec<Entry>),
    Writing(ShardWriter),
}

/// A generation that is complete and durable, and not in force.
#[derive(Debug)]
pub struct PreparedGeneration {
    folder: Folder,
    bits: u8,
    keys: u64,
}

/// What taking a prepared generation would change, in keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Keys that are not in force now.
    pub added: u64,
    /// Keys that are in force now and would not be.
    pub removed: u64,
    /// Keys whose account, logins, names or line would change.
    pub changed: u64,
    /// Keys that would stay as they are.
    pub kept: u64,
}

impl NextGeneration {
    pub(crate) fn begin(name: &SourceName, source: &Directory, generation: u64) -> Result<Self, WriteError> {
        let folder = Folder::make(name, source, generation)?;
        Ok(Self { folder, state: State::Estimating(Vec::new()), last: None, count: 0 })
    }

    /// Adds `entry`, whose fingerprint is greater than the one before.
    pub fn push(&mut self, entry: Entry) -> Result<(), WriteError> {
        if self.last.is_some_and(|last| last >= entry.fingerprint) {
            return Err(WriteError::Order);
        }
        self.last = Some(entry.fingerprint);
        self.count += 1;
        match &mut self.state {
            State::Writing(writer) => writer.push(&self.folder, entry),
            State::Estimating(entries) => {
                entries.push(entry);
                if entries.len() < ENTRIES_TO_ESTIMATE_FROM { Ok(()) } else { self.write_by_estimate() }
            }
        }
    }

    /// The number of keys so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends the generation and makes it durable.
    pub fn finish(mut self) -> Result<PreparedGeneration, WriteError> {
        if matches!(self.state, State::Estimating(_)) {
            let bits = bits_for(self.count);
            self.write_with(bits)?;
        }
        let State::Writing(writer) = self.state else { return Err(WriteError::Order) };
        let bits = writer.bits;
        writer.finish(&self.folder)?;
        let prepared = PreparedGeneration { folder: self.folder, bits, keys: self.count };
        // The bounds leave room for the estimate's error, so a rebuild is the exception.
        if bits.abs_diff(bits_for(prepared.keys)) > 1 { prepared.rebuild() } else { prepared.sync() }
    }

    fn write_by_estimate(&mut self) -> Result<(), WriteError> {
        let filled = self.last.map_or(0, |last| last.leading_bits(pushkeys_keys::SHARD_BITS_MAX));
        let estimate = (self.count << pushkeys_keys::SHARD_BITS_MAX) / u64::from(filled.max(1));
        self.write_with(bits_for(estimate.min(ESTIMATE_MAX)))
    }

    fn write_with(&mut self, bits: u8) -> Result<(), WriteError> {
        let writing = State::Writing(ShardWriter::new(self.folder.generation, bits));
        if let State::Estimating(entries) = std::mem::replace(&mut self.state, writing)
            && let State::Writing(writer) = &mut self.state
        {
            for entry in entries {
                writer.push(&self.folder, entry)?;
            }
        }
        Ok(())
    }
}

/// A generation that is made of another by changes that touch most of its shards.
#[derive(Debug)]
pub(crate) struct ChangedGeneration {
    folder: Folder,
    bits: u8,
    keys: u64,
}

impl ChangedGeneration {
    /// Begins the generation in the folder `spare`, whose files are written over, or in a new one.
    pub(crate) fn begin(
        name: &SourceName,
        source: &Directory,
        generation: u64,
        bits: u8,
        spare: Option<&str>,
    ) -> Result<Self, WriteError> {
        let folder = match spare {
            Some(spare) => Folder::reuse(name, source, generation, spare)?,
            None => Folder::make(name, source, generation)?,
        };
        Ok(Self { folder, bits, keys: 0 })
    }

    /// Writes every shard of the generation of `head` in `old` as it is after the changes in `touched`.
    pub(crate) fn merge(
        &mut self,
        old: &Directory,
        head: &Head,
        touched: &Touched<'_>,
    ) -> Result<Applied, WriteError> {
        let (mut applied, untouched) = (Applied::default(), ShardChanges::new());
        for index in 0..1_u32 << self.bits {
            let from = ShardId { generation: head.generation, bits: head.bits, index };
            let to = ShardId { generation: self.folder.generation, bits: self.bits, index };
            let merged = read_merged(old, &from, &to, touched.get(&index).unwrap_or(&untouched))?;
            self.folder.directory.write_over(&to.file_name(), &merged.bytes)?;
            self.keys += merged.count;
            applied += merged.applied;
        }
        Ok(applied)
    }

    pub(crate) fn finish(self) -> Result<PreparedGeneration, WriteError> {
        let Self { folder, bits, keys } = self;
        PreparedGeneration { folder, bits, keys }.sync()
    }
}

impl PreparedGeneration {
    /// The number of keys in it.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// What taking this generation in place of `in_force` would change.
    pub fn difference(&self, in_force: Option<&Source>) -> Result<Difference, ReadError> {
        let Some(in_force) = in_force else {
            return Ok(Difference { added: self.keys, ..Difference::default() });
        };
        let prepared = self.source()?;
        let mut difference = Difference::default();
        let (mut old, mut new) = (Lines::of(in_force), Lines::of(&prepared));
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(difference),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(&new),
            };
            match order {
                Ordering::Less => difference.removed += 1,
                Ordering::Greater => difference.added += 1,
                Ordering::Equal if old.peek() == new.peek() => difference.kept += 1,
                Ordering::Equal => difference.changed += 1,
            }
            if order.is_le() {
                old.advance();
            }
            if order.is_ge() {
                new.advance();
            }
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.folder.generation
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// From here on the folder stays.
    pub(crate) fn keep(mut self) {
        self.folder.is_temporary = false;
    }

    /// The same keys in as many shards as their true number asks for.
    fn rebuild(self) -> Result<Self, WriteError> {
        let folder = Folder::make(&self.folder.name, &self.folder.source, self.folder.generation + 1)?;
        let mut writer = ShardWriter::new(folder.generation, bits_for(self.keys));
        for entry in self.source()?.into_entries() {
            writer.push(&folder, entry?)?;
        }
        let bits = writer.bits;
        writer.finish(&folder)?;
        Self { folder, bits, keys: self.keys }.sync()
    }

    fn sync(self) -> Result<Self, WriteError> {
        self.folder.directory.sync_file_system()?;
        Ok(self)
    }

    fn source(&self) -> Result<Source, ReadError> {
        let epoch = jiff::Timestamp::UNIX_EPOCH;
        let head = Head {
            generation: self.folder.generation,
            bits: self.bits,
            keys: self.keys,
            cursor: None,
            stamps: Stamps { synced_at: epoch, valid_until: None },
            notes: None,
        };
        Source::of_generation(self.folder.name.clone(), self.folder.source.again()?, head)
    }
}

/// The folder of a generation, which goes again unless the generation is taken.
#[derive(Debug)]
struct Folder {
    name: SourceName,
    source: Directory,
    generation: u64,
    directory: Directory,
    is_temporary: bool,
}

impl Folder {
    fn make(name: &SourceName, source: &Directory, generation: u64) -> Result<Self, WriteError> {
        let folder = generation_name(generation);
        source.remove_directory(&folder)?;
        source.make_directory(&folder)?;
        let directory = source.open_directory(&folder)?;
        Ok(Self { name: name.clone(), source: source.again()?, generation, directory, is_temporary: true })
    }
}

impl Folder {
    fn reuse(
        name: &SourceName,
        source: &Directory,
        generation: u64,
        spare: &str,
    ) -> Result<Self, WriteError> {
        let folder = generation_name(generation);
        source.rename(spare, &folder)?;
        let directory = source.open_directory(&folder)?;
        Ok(Self { name: name.clone(), source: source.again()?, generation, directory, is_temporary: true })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed now is removed when a writer opens the source again.
            let _ = self.source.remove_directory(&generation_name(self.generation));
        }
    }
}

/// Writes the shards of a generation one after the other, the empty ones too: a missing file is damage.
#[derive(Debug)]
struct ShardWriter {
    generation: u64,
    bits: u8,
    index: u32,
    entries: Vec<Entry>,
}

impl ShardWriter {
    fn new(generation: u64, bits: u8) -> Self {
        Self { generation, bits, index: 0, entries: Vec::new() }
    }

    fn push(&mut self, folder: &Folder, entry: Entry) -> Result<(), WriteError> {
        self.advance(folder, entry.fingerprint.leading_bits(self.bits))?;
        self.entries.push(entry);
        Ok(())
    }

    fn finish(mut self, folder: &Folder) -> Result<(), WriteError> {
        self.advance(folder, 1 << self.bits)
    }

    fn advance(&mut self, folder: &Folder, index: u32) -> Result<(), WriteError> {
        while self.index < index {
            let shard = ShardId { generation: self.generation, bits: self.bits, index: self.index };
            let mut entries = std::mem::take(&mut self.entries);
            entries.sort_by_cached_key(|entry| entry.fingerprint.to_text());
            let count = entries.len() as u64;
            let mut bytes = Vec::with_capacity(256 + entries.len() * 512);
            shard.write_first(count, &mut bytes);
            for entry in &entries {
                entry.write_line(&mut bytes);
            }
            shard.write_last(count, &mut bytes);
            folder.directory.write_new(shard.file_name(), &bytes)?;
            entries.clear();
            self.entries = entries;
            self.index += 1;
        }
        Ok(())
    }
}

/// The lines of a source in the order of their fingerprints' bytes, one shard in memory at a time. Shards and lines that
/// cannot be read are passed over: a comparison must not fail because what is in force is damaged.
struct Lines<'a> {
    source: &'a Source,
    next_shard: u32,
    bytes: Vec<u8>,
    ranges: std::vec::IntoIter<(Fingerprint, std::ops::Range<usize>)>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a Source) -> Self {
        Self { source, next_shard: 0, bytes: Vec::new(), ranges: Vec::new().into_iter() }.filled()
    }

    fn filled(mut self) -> Self {
        self.fill();
        self
    }

    fn peek(&self) -> Option<(Fingerprint, &[u8])> {
        let (fingerprint, range) = self.ranges.as_slice().first()?;
        Some((*fingerprint, self.bytes.get(range.clone())?))
    }

    fn advance(&mut self) {
        self.ranges.next();
        self.fill();
    }

    fn fill(&mut self) {
        while self.ranges.as_slice().is_empty() && self.next_shard < self.source.shard_count() {
            if self.source.read_shard(self.next_shard, &mut self.bytes).is_err() {
                self.bytes.clear();
            }
            self.ranges = lines_by_fingerprint(&self.bytes).into_iter();
            self.next_shard += 1;
        }
    }
}
