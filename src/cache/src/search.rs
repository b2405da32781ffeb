//! Finding one key in a shard: bisection by bytes, then one read of a few kilobytes, whose lines prove themselves.

use std::fs::File;
use std::ops::Range;

use pushkeys_files::append_at;
use pushkeys_keys::Fingerprint;

use crate::entry::{ENTRY_LINE_BYTES_MAX, Entry, EntryLine, FINGERPRINT_TEXT_BYTES, fingerprint_text};
use crate::error::Damage;
use crate::files::read_at;
use crate::shard::{SENTINEL_BYTES_MAX, ShardId};

/// When no more than this many bytes are left to search, they are read and scanned.
const SCAN_BYTES: u64 = 1536;
/// Lines of Ed25519 and ECDSA keys are shorter than this.
const MOST_LINES_BYTES: usize = 1024;
/// What is left to scan is at most this long: one line that spans the middle of it, and its neighbours.
const REGION_BYTES_MAX: usize = 4 * (ENTRY_LINE_BYTES_MAX + 1);
/// A probe reads this many bytes: mostly the rest of one line and the fingerprint of the next.
const PROBE_BYTES: usize = 1024;

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
        _ => EntryLine::check(line).map(drop),
    }
}
