//! Some shards of one source: what is wrong with them, and where other sources say something else of their keys.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use cache::{Damage, Entry, ReadError, Source};
use keys::{Fingerprint, Policy, Refusal, ValidKey, chain};

/// One thing that is wrong.
pub(super) struct Fault {
    pub(super) path: PathBuf,
    /// From 1.
    pub(super) line: Option<u64>,
    pub(super) what: String,
}

/// What came of some shards.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) shards: u64,
    pub(super) keys: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) unreadable: Vec<ReadError>,
}

/// Looks at shards of one source, piece by piece.
pub(super) struct Examiner<'a> {
    source: &'a Source,
    /// The sources that are compared with this one.
    larger: Vec<&'a Source>,
    policy: &'a Policy,
    buffer: Vec<u8>,
}

/// A line whose checksum is right and whose fields can be read.
struct Line {
    path: PathBuf,
    number: u64,
    entry: Entry,
}

impl<'a> Examiner<'a> {
    /// Of two sources, the one with fewer keys is compared with the other: of that one, the shards are read in which
    /// these keys could stand.
    pub(super) fn new(source: &'a Source, all: &'a [Source], policy: &'a Policy) -> Self {
        let size = |source: &Source| (source.head().keys, Reverse(source.name().clone()));
        let larger = all.iter().filter(|other| size(other) > size(source)).collect();
        Self { source, larger, policy, buffer: Vec::new() }
    }

    pub(super) fn examine(&mut self, shards: Range<u32>) -> Piece {
        let mut piece = Piece::default();
        let mut lines = Vec::new();
        for index in shards {
            let before = lines.len();
            let path = self.source.path_of(index);
            let report = self.source.scan_shard(index, &mut self.buffer, |number, line| {
                lines.push(Line { path: path.clone(), number, entry: line.entry()? });
                Ok(())
            });
            piece.shards += 1;
            piece.keys += (lines.len() - before) as u64;
            let fault = |(line, damage): (u64, Damage)| Fault {
                path: report.path.clone(),
                line: Some(line),
                what: damage.to_string(),
            };
            piece.faults.extend(report.faults.into_iter().map(fault));
            piece.unreadable.extend(report.unreadable);
        }
        // Some hundred keys are judged in less time together.
        let keys = ValidKey::check_all(lines.iter().map(|line| line.entry.line.public_key()), self.policy);
        for (line, key) in lines.iter().zip(keys) {
            if let Err(what) = check_key(&line.entry, key) {
                piece.faults.push(line.fault(what));
            }
        }
        for larger in &self.larger {
            piece.faults.extend(conflicts(self.source, larger, &lines, &mut self.buffer));
        }
        piece
    }
}

impl Line {
    fn fault(&self, what: String) -> Fault {
        Fault { path: self.path.clone(), line: Some(self.number), what }
    }
}

/// Whether the line of `entry` gives sshd the key and the account that the entry is about.
fn check_key(entry: &Entry, key: Result<ValidKey, Refusal>) -> Result<(), String> {
    let key = key.map_err(|refusal| format!("the key policy refuses the key: {}", chain(&refusal)))?;
    if key.fingerprint() != entry.fingerprint {
        return Err(format!("the key in the line is another one, {}", key.fingerprint()));
    }
    if entry.expires_at().is_err() {
        return Err("the expiry-time in the line cannot be read".to_owned());
    }
    let options = entry.line.as_str().strip_suffix(entry.line.public_key()).unwrap_or_default();
    if !options.contains(entry.account.as_str()) {
        return Err(format!("the command in the line does not name account `{}`", entry.account));
    }
    Ok(())
}

/// The lines of `source` whose keys `other` gives to somebody else.
fn conflicts(source: &Source, other: &Source, lines: &[Line], buffer: &mut Vec<u8>) -> Vec<Fault> {
    let holders: HashMap<Fingerprint, &Line> =
        lines.iter().map(|line| (line.entry.fingerprint, line)).collect();
    let shards: BTreeSet<u32> =
        holders.keys().map(|fingerprint| fingerprint.leading_bits(other.head().bits)).collect();
    let mut faults = Vec::new();
    for index in shards {
        // What is wrong with the other source is told where that one is looked at.
        let _ = other.scan_shard(index, buffer, |_, found| {
            let fingerprint: Fingerprint = found.fingerprint.parse().map_err(|_| Damage::Fields)?;
            if let Some(line) = holders.get(&fingerprint)
                && line.entry.account.as_str() != found.account
            {
                let mut claims = [
                    (source.name(), line.entry.account.as_str()),
                    (other.name(), found.account),
                ];
                claims.sort_unstable();
                let [(one, account), (two, second)] = claims;
                let what = format!(
                    "source `{one}` gives the key to account `{account}`, and source `{two}` to `{second}`: it is refused"
                );
                faults.push(line.fault(what));
            }
            Ok(())
        });
    }
    faults
}
