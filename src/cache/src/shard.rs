//! A shard: the keys whose fingerprints begin with the same bits, as sorted lines between two sentinels.
//!
//! The first line (`#shard …`) sorts before every entry and the last (`~end …`) after it. Each names the shard
//! and has a checksum, so every place where a key could stand lies between two lines that prove themselves.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use keys::Fingerprint;

use crate::batch::Applied;
use crate::entry::{
    ENTRY_LINE_BYTES_MAX, Entry, FINGERPRINT_TEXT_BYTES, check_line, checksum, fingerprint_text,
};
use crate::error::Damage;
use crate::files::{append_at, read_at};

/// Keys per shard when a generation is made: more than half of it, at most all of it, on average.
pub(crate) const KEYS_PER_SHARD: u64 = 256;

/// The longest sentinel in bytes, newline included.
pub(crate) const SENTINEL_BYTES_MAX: usize = 128;

const FIRST: &str = "#shard";
const LAST: &str = "~end";

/// When no more than this many bytes are left to search, they are read and scanned.
const SCAN_BYTES: u64 = 1536;
/// Lines of Ed25519 and ECDSA keys are shorter than this.
const MOST_LINES_BYTES: usize = 1024;
/// What is left to scan is at most this long: one line that spans the middle of it, and its neighbours.
const REGION_BYTES_MAX: usize = 4 * (ENTRY_LINE_BYTES_MAX + 1);
/// A probe reads this many bytes: mostly the rest of one line and the fingerprint of the next.
const PROBE_BYTES: usize = 1024;

/// Which shard of which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardId {
    /// The generation.
    pub generation: u64,
    /// How many bits of a fingerprint choose the shard.
    pub bits: u8,
    /// The value of these bits.
    pub index: u32,
}

impl ShardId {
    /// The shard that holds `fingerprint`.
    #[must_use]
    pub fn of(fingerprint: &Fingerprint, generation: u64, bits: u8) -> Self {
        Self { generation, bits, index: fingerprint.leading_bits(bits) }
    }

    /// The file's name: the bits in hexadecimal.
    #[must_use]
    pub fn file_name(&self) -> String {
        let width = usize::from(self.bits.div_ceil(4).max(1));
        format!("{:0width$x}", self.index)
    }

    /// Appends the line that begins a shard of `count` entries.
    pub(crate) fn write_first(&self, count: u64, bytes: &mut Vec<u8>) {
        self.write_sentinel(FIRST, count, bytes);
    }

    /// Appends the line that ends a shard of `count` entries.
    pub(crate) fn write_last(&self, count: u64, bytes: &mut Vec<u8>) {
        self.write_sentinel(LAST, count, bytes);
    }

    fn write_sentinel(&self, word: &str, count: u64, bytes: &mut Vec<u8>) {
        let Self { generation, bits, .. } = self;
        let text = format!("{word}\t{generation}\t{bits}\t{}\t{count}\t", self.file_name());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&checksum(&[text.as_bytes()]));
        bytes.push(b'\n');
    }

    /// The number of entries that the sentinel `line` gives, if it is this shard's own.
    pub(crate) fn check_first(&self, line: &[u8]) -> Result<u64, Damage> {
        self.check_sentinel(FIRST, line)
    }

    /// See [`ShardId::check_first`].
    pub(crate) fn check_last(&self, line: &[u8]) -> Result<u64, Damage> {
        self.check_sentinel(LAST, line)
    }

    fn check_sentinel(&self, word: &str, line: &[u8]) -> Result<u64, Damage> {
        let text = str::from_utf8(line).map_err(|_| Damage::Sentinel)?;
        let count = text.split('\t').nth(4).and_then(|count| count.parse().ok()).ok_or(Damage::Sentinel)?;
        let mut expected = Vec::with_capacity(SENTINEL_BYTES_MAX);
        self.write_sentinel(word, count, &mut expected);
        expected.pop();
        if expected == line { Ok(count) } else { Err(Damage::Sentinel) }
    }
}

/// How many bits make shards of about [`KEYS_PER_SHARD`] keys each.
pub(crate) fn bits_for(keys: u64) -> u8 {
    let shards = keys.div_ceil(KEYS_PER_SHARD).max(1);
    let bits = shards.next_power_of_two().trailing_zeros();
    u8::try_from(bits).unwrap_or(keys::SHARD_BITS_MAX).min(keys::SHARD_BITS_MAX)
}

/// The entry of `fingerprint` in the shard `file`, which is `size` bytes long.
///
/// A line is an answer only when its checksum is right, and its absence only when the two lines between which it would stand
/// are intact: each step of the search that could have been misled by a damaged line ends beside that line.
pub(crate) fn find(
    file: &File,
    size: u64,
    shard: &ShardId,
    fingerprint: &Fingerprint,
) -> Result<Option<Entry>, Fault> {
    let text = fingerprint.to_text();
    let target = text.as_bytes();
    let region = narrow(file, size, target)?;
    // The line that begins at the end of the region may be the neighbour to prove. It is mostly short.
    for beyond in [MOST_LINES_BYTES, ENTRY_LINE_BYTES_MAX + 1] {
        let end = size.min(region.end + beyond as u64);
        let length = usize::try_from(end - region.start).unwrap_or(usize::MAX);
        if length > REGION_BYTES_MAX {
            return Err(Damage::LineTooLong.into());
        }
        let mut bytes = Vec::new();
        append_at(file, &mut bytes, length, region.start)?;
        let found = match scan(&bytes, shard, target)? {
            Scan::Found(entry) => Some(entry),
            Scan::Absent => None,
            Scan::CutShort => continue,
        };
        check_still(file, shard)?;
        return Ok(found);
    }
    Err(Damage::Sentinel.into())
}

/// A file is never edited while it is in force, but one that no longer is may be written over, from its first line
/// on, to become another generation's. So what was read before the first line is found to be this shard's was
/// all read from this shard.
fn check_still(file: &File, shard: &ShardId) -> Result<(), Fault> {
    let mut buffer = [0; SENTINEL_BYTES_MAX];
    let filled = read_at(file, &mut buffer, 0)?;
    let first = buffer.get(..filled).and_then(|bytes| bytes.split(|&byte| byte == b'\n').next());
    shard.check_first(first.unwrap_or_default())?;
    Ok(())
}

/// The last change of each key of a shard: what it is now, or that it is gone.
pub(crate) type ShardChanges<'a> = BTreeMap<Fingerprint, Option<&'a Entry>>;

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
    let text = bytes.strip_suffix(b"\n").ok_or(Damage::Sentinel)?;
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let count = shard.check_last(last)?;
    if lines.is_empty() || shard.check_first(lines.remove(0))? != count || lines.len() as u64 != count {
        return Err(Damage::Count);
    }
    for line in &lines {
        check_line(line)?;
    }
    let is_ascending = lines
        .windows(2)
        .all(|pair| matches!(pair, [before, after] if fingerprint_text(before) < fingerprint_text(after)));
    if is_ascending { Ok(lines) } else { Err(Damage::Order) }
}

/// Where the entries of a shard's `bytes` stand, in the order of their fingerprints' bytes, whether or not
/// they are right. What does not begin with a fingerprint is passed over.
pub(crate) fn lines_by_fingerprint(bytes: &[u8]) -> Vec<(Fingerprint, Range<usize>)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        let text = fingerprint_text(line).and_then(|text| str::from_utf8(text).ok());
        if let Some(fingerprint) = text.and_then(|text| text.parse().ok()) {
            lines.push((fingerprint, start..start + line.len()));
        }
        start += line.len() + 1;
    }
    lines.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    lines
}

/// Why a search in a shard has no result.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(std::io::Error),
    Damage(Damage),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Bisects the file by bytes. The line at the start of the result sorts at or before `target`; the line at
/// its end, or the end of the file, sorts after it.
fn narrow(file: &File, size: u64, target: &[u8]) -> Result<Range<u64>, Fault> {
    let (mut start, mut end) = (0, size);
    while end - start > SCAN_BYTES {
        let middle = start + (end - start) / 2;
        match line_after(file, middle, end)? {
            Some(line) if line.begins_at_or_before(target) => start = line.offset,
            Some(line) => end = line.offset,
            // No line begins in the upper half: all that is left begins in the lower.
            None => return Ok(start..end),
        }
    }
    Ok(start..end)
}

/// Where a line begins, and the first bytes of it.
struct LineStart {
    offset: u64,
    text: [u8; FINGERPRINT_TEXT_BYTES],
}

impl LineStart {
    fn begins_at_or_before(&self, target: &[u8]) -> bool {
        self.text.as_slice() <= target
    }
}

/// The first line that begins after `middle` and before `end`.
fn line_after(file: &File, middle: u64, end: u64) -> Result<Option<LineStart>, Fault> {
    let mut buffer = [0; PROBE_BYTES];
    let mut offset = middle;
    while offset < end && offset - middle <= ENTRY_LINE_BYTES_MAX as u64 {
        let filled = read_at(file, &mut buffer, offset)?;
        let bytes = buffer.get(..filled).unwrap_or_default();
        if let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') {
            offset += newline as u64 + 1;
            let mut text = [0; FINGERPRINT_TEXT_BYTES];
            match bytes.get(newline + 1..newline + 1 + FINGERPRINT_TEXT_BYTES) {
                Some(begin) => text.copy_from_slice(begin),
                None => drop(read_at(file, &mut text, offset)?),
            }
            return Ok((offset < end).then_some(LineStart { offset, text }));
        }
        if filled == 0 {
            return Err(Damage::Sentinel.into());
        }
        offset += filled as u64;
    }
    if offset < end { Err(Damage::LineTooLong.into()) } else { Ok(None) }
}

enum Scan {
    Found(Entry),
    Absent,
    /// The bytes end before the answer.
    CutShort,
}

/// Looks through the lines of `bytes`, the first of which begins at or before `target`, for its entry.
fn scan(bytes: &[u8], shard: &ShardId, target: &[u8]) -> Result<Scan, Damage> {
    let mut before: Option<&[u8]> = None;
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = rest.split_at(end);
        if fingerprint_text(line) == Some(target) {
            return Entry::parse(line).map(Scan::Found);
        }
        if line.get(..FINGERPRINT_TEXT_BYTES).unwrap_or(line) > target {
            prove(before.ok_or(Damage::Sentinel)?, shard)?;
            prove(line, shard)?;
            return Ok(Scan::Absent);
        }
        before = Some(line);
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(Scan::CutShort)
}

fn prove(line: &[u8], shard: &ShardId) -> Result<(), Damage> {
    match line.first() {
        Some(b'#') => shard.check_first(line).map(drop),
        Some(b'~') => shard.check_last(line).map(drop),
        _ => check_line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_about_256_keys() {
        let check = |keys, bits| assert_eq!(bits_for(keys), bits, "{keys}");
        check(0, 0);
        check(256, 0);
        check(257, 1);
        check(10_000, 6);
        check(1_000_000, 12);
        check(10_000_000, 16);
        check(u64::MAX, keys::SHARD_BITS_MAX);
    }

    #[test]
    fn a_shard_is_named_by_its_bits() {
        let fingerprint: Fingerprint = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww".parse().unwrap();
        let check = |bits, name| assert_eq!(ShardId::of(&fingerprint, 1, bits).file_name(), name);
        check(0, "0");
        check(4, "0");
        check(6, "03");
        check(12, "0f2");
        check(13, "01e4");
    }

    #[test]
    fn a_sentinel_is_that_of_its_own_shard() {
        let shard = ShardId { generation: 7, bits: 12, index: 0xf2 };
        let mut line = Vec::new();
        shard.write_last(256, &mut line);
        line.pop();
        assert_eq!(shard.check_last(&line), Ok(256));
        assert_eq!(shard.check_first(&line), Err(Damage::Sentinel));
        assert_eq!(ShardId { index: 0xf3, ..shard }.check_last(&line), Err(Damage::Sentinel));
        assert_eq!(ShardId { generation: 8, ..shard }.check_last(&line), Err(Damage::Sentinel));
    }
}
