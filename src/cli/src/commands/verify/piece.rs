//! Some shards of one source: what is wrong with them, and which of their keys another source gives to another account.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use pushkeys_cache::{Damage, Entry, ReadError, Source};
use pushkeys_keys::{AccountId, ErrorReport, Fingerprint, Policy, Refusal, ValidKey};

/// One thing that is wrong.
pub(super) struct Fault {
    pub(super) path: PathBuf,
    /// From 1.
    pub(super) line: Option<u64>,
    pub(super) what: String,
}

/// The result for some shards.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) shards: u64,
    pub(super) keys: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) unreadable: Vec<ReadError>,
}

/// Checks the shards of one source, piece by piece.
pub(super) struct Examiner<'a> {
    source: &'a Source,
    /// The sources that are compared with this one.
    larger: Vec<&'a Source>,
    policy: &'a Policy,
    buffer: Vec<u8>,
}

/// Lines with matching checksums and readable fields. There can be millions, so only what is needed later is kept.
#[derive(Default)]
struct Lines {
    paths: Vec<PathBuf>,
    /// The public keys one after the other.
    keys: String,
    all: Vec<Line>,
}

struct Line {
    /// Its file's place among the paths.
    path: usize,
    number: u64,
    fingerprint: Fingerprint,
    /// Where its public key ends; it begins where the one before ends.
    key_end: usize,
    /// Its account, if another source is to be compared.
    account: Option<AccountId>,
}

impl<'a> Examiner<'a> {
    /// Of two sources, the one with fewer keys is compared with the other, of which only the shards that its keys could be in are
    /// read.
    pub(super) fn new(source: &'a Source, all: &'a [Source], policy: &'a Policy) -> Self {
        let size = |source: &Source| (source.head().keys, Reverse(source.name().clone()));
        let larger = all.iter().filter(|other| size(other) > size(source)).collect();
        Self { source, larger, policy, buffer: Vec::new() }
    }

    pub(super) fn examine(&mut self, shards: Range<u32>) -> Piece {
        let mut piece = Piece::default();
        let mut lines = Lines::default();
        for index in shards {
            let path = self.source.path_of(index);
            let mut faults = Vec::new();
            let report = self.source.scan_shard(index, &mut self.buffer, |number, line| {
                let entry = line.entry()?;
                if let Err(what) = check_options(&entry) {
                    faults.push(Fault { path: path.clone(), line: Some(number), what });
                }
                lines.push(number, entry, !self.larger.is_empty());
                Ok(())
            });
            lines.paths.push(path);
            piece.shards += 1;
            piece.keys += report.keys;
            piece.faults.extend(report.faults.into_iter().map(|(line, damage)| Fault {
                path: report.path.clone(),
                line: Some(line),
                what: damage.to_string(),
            }));
            piece.faults.append(&mut faults);
            piece.unreadable.extend(report.unreadable);
        }
        // Validating some hundred keys at once takes less time.
        let keys = ValidKey::check_all(lines.keys(), self.policy);
        for (line, key) in lines.all.iter().zip(keys) {
            if let Err(what) = check_key(&line.fingerprint, key) {
                piece.faults.push(lines.fault(line, what));
            }
        }
        for larger in &self.larger {
            piece.faults.extend(conflicts(self.source, larger, &lines, &mut self.buffer));
        }
        piece
    }
}

impl Lines {
    fn push(&mut self, number: u64, entry: Entry, is_compared: bool) {
        self.keys.push_str(entry.line.public_key());
        self.all.push(Line {
            path: self.paths.len(),
            number,
            fingerprint: entry.fingerprint,
            key_end: self.keys.len(),
            account: is_compared.then_some(entry.account),
        });
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.all.iter().map(|line| line.key_end));
        starts.zip(&self.all).map(|(start, line)| self.keys.get(start..line.key_end).unwrap_or_default())
    }

    fn fault(&self, line: &Line, what: String) -> Fault {
        let path = self.paths.get(line.path).cloned().unwrap_or_default();
        Fault { path, line: Some(line.number), what }
    }
}

/// Whether the key in a line is the one of its fingerprint, and passes the policy.
fn check_key(fingerprint: &Fingerprint, key: Result<ValidKey, Refusal>) -> Result<(), String> {
    let key =
        key.map_err(|refusal| format!("the key policy refuses the key: {}", ErrorReport::of(&refusal)))?;
    if key.fingerprint() == *fingerprint {
        Ok(())
    } else {
        Err(format!("the key in the line is another one, {}", key.fingerprint()))
    }
}

/// Whether sshd can read the options of the line, and the account in them is the entry's.
fn check_options(entry: &Entry) -> Result<(), String> {
    if entry.expires_at().is_err() {
        return Err("the expiry-time in the line cannot be read".to_owned());
    }
    let options = entry.line.as_str().strip_suffix(entry.line.public_key()).unwrap_or_default();
    if !options.contains(entry.account.as_str()) {
        return Err(format!("the command in the line does not name account `{}`", entry.account));
    }
    Ok(())
}

/// The lines of `source` whose keys `other` gives to another account.
fn conflicts(source: &Source, other: &Source, lines: &Lines, buffer: &mut Vec<u8>) -> Vec<Fault> {
    let holders: HashMap<Fingerprint, (&Line, &AccountId)> = lines
        .all
        .iter()
        .filter_map(|line| Some((line.fingerprint, (line, line.account.as_ref()?))))
        .collect();
    let shards: BTreeSet<u32> =
        holders.keys().map(|fingerprint| fingerprint.leading_bits(other.head().bits)).collect();
    let mut faults = Vec::new();
    for index in shards {
        // What is wrong with the other source is reported where that one is checked.
        let _ = other.scan_shard(index, buffer, |_, found| {
            let fingerprint: Fingerprint = found.fingerprint.parse().map_err(|_| Damage::Fields)?;
            if let Some((line, account)) = holders.get(&fingerprint)
                && account.as_str() != found.account
            {
                let mut claims = [(source.name(), account.as_str()), (other.name(), found.account)];
                claims.sort_unstable();
                let [(one, first), (two, second)] = claims;
                let what = format!(
                    "source `{one}` gives the key to account `{first}`, and source `{two}` to `{second}`: it is refused"
                );
                faults.push(lines.fault(line, what));
            }
            Ok(())
        });
    }
    faults
}
