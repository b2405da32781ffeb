//! Shards read as a whole: every line of them, what is wrong with them, and the entries of a source one after the other.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::PathBuf;

use pushkeys_keys::Fingerprint;

use crate::entry::{Entry, EntryLine};
use crate::error::{Damage, ReadError};
use crate::reader::Source;
use crate::shard::ShardId;

/// What is wrong with a shard.
#[derive(Debug)]
pub struct ShardReport {
    /// The file.
    pub path: PathBuf,
    /// How many lines are right.
    pub keys: u64,
    /// The lines that are not, with their numbers in the file from 1.
    pub faults: Vec<(u64, Damage)>,
    /// Why the file could not be read at all.
    pub unreadable: Option<ReadError>,
}

impl Source {
    /// Shows `visit` every line of the shard `index` that is right, with its number in the file, and gives everything
    /// there is to say against the shard, what `visit` has to say included. `buffer` is room to read into, for callers that
    /// scan many.
    pub fn scan_shard(
        &self,
        index: u32,
        buffer: &mut Vec<u8>,
        visit: impl FnMut(u64, &EntryLine<'_>) -> Result<(), Damage>,
    ) -> ShardReport {
        let path = self.path_of(index);
        let mut report = ShardReport { path, keys: 0, faults: Vec::new(), unreadable: None };
        match self.read_shard(index, buffer) {
            Ok(()) => report.scan(&self.shard(index), buffer, visit),
            Err(error) => report.unreadable = Some(error),
        }
        report
    }

    /// Adds what keys of the shard `index` the accounts in `keys` have, if nothing in it is wrong.
    pub fn keys_of_accounts(
        &self,
        index: u32,
        buffer: &mut Vec<u8>,
        keys: &mut BTreeMap<String, Vec<Fingerprint>>,
    ) -> Result<(), ReadError> {
        let report = self.scan_shard(index, buffer, |_, line| {
            if let Some(keys) = keys.get_mut(line.account) {
                keys.push(line.fingerprint.parse().map_err(|_| Damage::Fields)?);
            }
            Ok(())
        });
        report.into_result()
    }

    /// The entries of the shard `index` in the order of their fingerprints' bytes, if nothing in it is wrong.
    fn shard_entries(&self, index: u32, buffer: &mut Vec<u8>) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let report = self.scan_shard(index, buffer, |_, line| line.entry().map(|entry| entries.push(entry)));
        report.into_result()?;
        entries.sort_unstable_by_key(|entry| entry.fingerprint);
        Ok(entries)
    }

    /// All entries in the order of their fingerprints' bytes, in which a generation is written. No more than one shard
    /// is held.
    ///
    /// A generation that is replaced while it is being read ends with [`ReadError::Damaged`] or
    /// [`ReadError::Missing`]: open the source again.
    #[must_use]
    pub fn entries(&self) -> Entries<&Self> {
        Entries::of(self)
    }

    /// The same for callers that keep only the entries.
    #[must_use]
    pub fn into_entries(self) -> Entries<Self> {
        Entries::of(self)
    }
}

impl ShardReport {
    /// What is wrong first, if anything is.
    pub fn into_result(self) -> Result<(), ReadError> {
        match (self.unreadable, self.faults.first()) {
            (Some(error), _) => Err(error),
            (None, Some((_, damage))) => Err(ReadError::damaged(&self.path, *damage)),
            (None, None) => Ok(()),
        }
    }

    fn scan(
        &mut self,
        shard: &ShardId,
        bytes: &[u8],
        mut visit: impl FnMut(u64, &EntryLine<'_>) -> Result<(), Damage>,
    ) {
        let (mut previous, mut counts) = ("", Vec::new());
        let (mut last, mut ends_with_sentinel) = (0, false);
        for (number, line) in (1..).zip(lines(bytes)) {
            last = number;
            ends_with_sentinel = false;
            let result = match line.strip_suffix(b"\n") {
                None => Err(Damage::Sentinel),
                Some(line) if number == 1 => shard.check_first(line).map(|count| counts.push(count)),
                Some(line) if line.starts_with(b"~") => shard.check_last(line).map(|count| {
                    counts.push(count);
                    ends_with_sentinel = true;
                }),
                Some(line) => check_entry(line, shard, &mut previous)
                    .and_then(|line| visit(number, &line))
                    .map(|()| self.keys += 1),
            };
            if let Err(damage) = result {
                self.faults.push((number, damage));
            }
        }
        let end = if bytes.is_empty() || bytes.ends_with(b"\n") { last + 1 } else { last };
        if !ends_with_sentinel {
            self.faults.push((end, Damage::Sentinel));
        } else if self.faults.is_empty() && counts.iter().any(|&said| said != self.keys) {
            self.faults.push((end, Damage::Count));
        }
    }
}

/// The line, if it proves itself and stands where it belongs: in this shard, and after the one before.
fn check_entry<'a>(line: &'a [u8], shard: &ShardId, previous: &mut &'a str) -> Result<EntryLine<'a>, Damage> {
    let line = EntryLine::check(line)?;
    match Fingerprint::leading_bits_of(line.fingerprint, shard.bits) {
        Some(index) if index == shard.index => {}
        Some(_) => return Err(Damage::WrongShard),
        None => return Err(Damage::Fields),
    }
    if *previous >= line.fingerprint {
        return Err(Damage::Order);
    }
    *previous = line.fingerprint;
    Ok(line)
}

/// The lines of `bytes`, each with its newline if it has one.
pub(crate) fn lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let all = bytes;
        // Memory is read without an error, and libc's memchr looks at many bytes at once.
        let length = bytes.skip_until(b'\n').unwrap_or_default();
        all.get(..length).filter(|line| !line.is_empty())
    })
}

/// The entries of a source; see [`Source::entries`].
#[derive(Debug)]
pub struct Entries<S> {
    source: S,
    next_shard: u32,
    shard: std::vec::IntoIter<Entry>,
    buffer: Vec<u8>,
}

impl<S: Borrow<Source>> Entries<S> {
    fn of(source: S) -> Self {
        Self { source, next_shard: 0, shard: Vec::new().into_iter(), buffer: Vec::new() }
    }
}

impl<S: Borrow<Source>> Iterator for Entries<S> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.shard.next() {
                return Some(Ok(entry));
            }
            let source = self.source.borrow();
            if self.next_shard >= source.shard_count() {
                return None;
            }
            let entries = source.shard_entries(self.next_shard, &mut self.buffer);
            self.next_shard += 1;
            match entries {
                Ok(entries) => self.shard = entries.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
