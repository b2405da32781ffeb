//! Changing a shard: its lines and the changes of its keys become a new shard.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use pushkeys_keys::Fingerprint;

use crate::entry::{Entry, EntryLine, fingerprint_text};
use crate::error::Damage;
use crate::scan::lines;
use crate::shard::{SENTINEL_BYTES_MAX, ShardId};

/// The last change of each key of a shard: what it is now, or that it is gone.
pub(crate) type ShardChanges<'a> = BTreeMap<Fingerprint, Option<&'a Entry>>;

/// What a batch of changes did, in keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Keys that were not there before.
    pub added: u64,
    /// Keys that were replaced by something different.
    pub changed: u64,
    /// Keys that are gone.
    pub removed: u64,
}

impl AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
    }
}

/// A shard as it is after some changes, and what they did, in keys.
pub(crate) struct Merged {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
    pub(crate) applied: Applied,
}

/// Applies `changes` to `old`, the bytes of the shard `from`, which makes the shard `to`. Lines that stay are copied as
/// they are, once each has proved itself: damage must not be given a new checksum.
pub(crate) fn merge(
    old: &[u8],
    from: &ShardId,
    to: &ShardId,
    changes: &ShardChanges<'_>,
) -> Result<Merged, Damage> {
    let mut changes: Vec<_> =
        changes.iter().map(|(fingerprint, entry)| (fingerprint.to_text(), *entry)).collect();
    changes.sort_unstable_by_key(|(text, _)| *text);
    let mut changes = changes.into_iter().peekable();
    let mut merged = Merging { body: Vec::with_capacity(old.len() + 4096), ..Merging::default() };
    for line in entry_lines(old, from)? {
        let text = fingerprint_text(line).ok_or(Damage::Fields)?;
        while let Some((_, entry)) = changes.next_if(|(change, _)| change.as_bytes() < text) {
            merged.change(None, entry);
        }
        match changes.next_if(|(change, _)| change.as_bytes() == text) {
            Some((_, entry)) => merged.change(Some(line), entry),
            None => merged.keep(line),
        }
    }
    changes.for_each(|(_, entry)| merged.change(None, entry));
    Ok(merged.finish(to))
}

#[derive(Default)]
struct Merging {
    body: Vec<u8>,
    count: u64,
    applied: Applied,
}

impl Merging {
    fn keep(&mut self, line: &[u8]) {
        self.count += 1;
        self.body.extend_from_slice(line);
        self.body.push(b'\n');
    }

    fn change(&mut self, old: Option<&[u8]>, new: Option<&Entry>) {
        let start = self.body.len();
        if let Some(entry) = new {
            entry.write_line(&mut self.body);
            self.count += 1;
        }
        let written = self.body.get(start..).and_then(|line| line.strip_suffix(b"\n"));
        match (old, written) {
            (None, Some(_)) => self.applied.added += 1,
            (Some(_), None) => self.applied.removed += 1,
            (Some(old), Some(new)) if old != new => self.applied.changed += 1,
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn finish(self, shard: &ShardId) -> Merged {
        let Self { body, count, applied } = self;
        let mut bytes = Vec::with_capacity(body.len() + 2 * SENTINEL_BYTES_MAX);
        shard.write_first(count, &mut bytes);
        bytes.extend_from_slice(&body);
        shard.write_last(count, &mut bytes);
        Merged { bytes, count, applied }
    }
}

/// The lines between the sentinels of a shard, if nothing about it is wrong.
fn entry_lines<'a>(bytes: &'a [u8], shard: &ShardId) -> Result<Vec<&'a [u8]>, Damage> {
    let lines = lines(bytes).map(|line| line.strip_suffix(b"\n").ok_or(Damage::Sentinel));
    let mut lines: Vec<&[u8]> = lines.collect::<Result<_, _>>()?;
    let last = lines.pop().unwrap_or_default();
    let count = shard.check_last(last)?;
    if lines.is_empty() || shard.check_first(lines.remove(0))? != count || lines.len() as u64 != count {
        return Err(Damage::Count);
    }
    for line in &lines {
        EntryLine::check(line)?;
    }
    let is_ascending = lines
        .windows(2)
        .all(|pair| matches!(pair, [before, after] if fingerprint_text(before) < fingerprint_text(after)));
    if is_ascending { Ok(lines) } else { Err(Damage::Order) }
}

/// Where the entries of a shard's `bytes` stand, in the order of their fingerprints' bytes, whether or not
/// they are right. What does not begin with a fingerprint is passed over.
pub(crate) fn lines_by_fingerprint(bytes: &[u8]) -> Vec<(Fingerprint, Range<usize>)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in lines(bytes) {
        let text = fingerprint_text(line).and_then(|text| str::from_utf8(text).ok());
        if let Some(fingerprint) = text.and_then(|text| text.parse().ok()) {
            found.push((fingerprint, start..start + line.len()));
        }
        start += line.len();
    }
    found.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    found
}
