//! What is revoked on this host: lifted once the key services agree, and, where that is configured, in a file for sshd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_cache::status::{ReportAnswer, Status};
use pushkeys_cache::{Cache, Head, ReadError, Revocation, Revocations, Revoked, WriteError};
use pushkeys_keys::{ErrorReport, Fingerprint, SourceName};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::report::reporter::revoked_in;
use crate::status::store::Board;

/// How soon a revocation is in the file for sshd, and is lifted when nothing needs it any more.
const TICK: Duration = Duration::from_secs(1);
/// The keys of an account are found by reading every line of the cache: only when it has changed, and no more often than
/// this, nor for more than one part in so many of a processor's time.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
const SCAN_SHARE: u32 = 20;
/// sshd reads the file as root; its folder decides who else may.
const FILE_MODE: u32 = 0o644;

/// Watches over the cache in `folder` for ever. `file` is where sshd's `RevokedKeys` points, if that is configured.
pub(crate) async fn run(folder: PathBuf, board: Arc<Board>, file: watch::Receiver<Option<PathBuf>>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper { folder, list: None, accounts: None, said: None };
    loop {
        ticks.tick().await;
        let (status, path) = (board.snapshot(), file.borrow().clone());
        keeper = match tokio::task::spawn_blocking(move || keeper.keep(&status, path.as_deref())).await {
            Ok(keeper) => keeper,
            Err(_) => return,
        };
    }
}

struct Keeper {
    folder: PathBuf,
    /// What is in the file for sshd.
    list: Option<List>,
    /// The keys of revoked accounts, as far as somebody asks for them.
    accounts: Option<Scan>,
    /// The fault that was said last.
    said: Option<String>,
}

struct List {
    path: PathBuf,
    keys: BTreeSet<Fingerprint>,
}

/// The keys of some accounts. They are found by reading every line of the cache.
struct Scan {
    /// What was in force.
    heads: Vec<(SourceName, Head)>,
    keys: BTreeMap<String, Vec<Fingerprint>>,
    ended_at: Instant,
    took: Duration,
}

impl Keeper {
    fn keep(mut self, status: &Status, path: Option<&Path>) -> Self {
        let kept = revoked_in(&self.folder).map_err(Fault::from).and_then(|revocations| {
            let is_new = self.look_for_accounts(&revocations, status, path.is_some())?;
            if let Some(path) = path {
                self.keep_list(path, &revocations)?;
            }
            self.lift(&revocations, status, is_new)
        });
        let fault = kept.err().map(|fault| fault.to_string());
        if fault != self.said {
            if let Some(fault) = &fault {
                tracing::error!("what is revoked on this host is not kept: {fault}");
            }
            self.said = fault;
        }
        self
    }

    /// Finds the keys of revoked accounts that the file for sshd should hold, or that may be revoked no longer. Whether
    /// what is known of them is of this moment.
    fn look_for_accounts(
        &mut self,
        revocations: &Revocations,
        status: &Status,
        has_list: bool,
    ) -> Result<bool, Fault> {
        let wanted = revocations.iter().filter(|revocation| has_list || is_settled(revocation, status));
        let wanted: BTreeSet<String> = wanted.filter_map(account_of).collect();
        if wanted.is_empty() {
            self.accounts = None;
            return Ok(true);
        }
        let cache = Cache::open(&self.folder)?;
        let heads = heads(&cache)?;
        if let Some(scan) = self.accounts.as_ref().filter(|scan| scan.keys.keys().eq(&wanted)) {
            let is_same = is_same_state(&scan.heads, &heads);
            let pause = SCAN_INTERVAL.max(scan.took * SCAN_SHARE);
            if is_same || scan.ended_at.elapsed() < pause {
                return Ok(is_same);
            }
        }
        self.accounts = Some(Scan::of(&cache, heads, wanted)?);
        Ok(true)
    }

    /// Lifts what every key service says it does not have, and no source of this host has any more.
    fn lift(&self, revocations: &Revocations, status: &Status, is_new: bool) -> Result<(), Fault> {
        for revocation in revocations.iter().filter(|revocation| is_settled(revocation, status)) {
            let what = &revocation.what;
            let is_gone = match what {
                Revoked::Key(fingerprint) => !is_held(&self.folder, fingerprint)?,
                Revoked::Account(account) => is_new && self.keys_of(account.as_str()).is_empty(),
            };
            if is_gone {
                pushkeys_cache::change_revocations(&self.folder, |all| all.remove(what))?;
                tracing::info!("the {what} is no longer revoked on this host: no source has it any more");
            }
        }
        Ok(())
    }

    fn keys_of(&self, account: &str) -> &[Fingerprint] {
        self.accounts.as_ref().and_then(|scan| scan.keys.get(account)).map(Vec::as_slice).unwrap_or_default()
    }

    fn keep_list(&mut self, path: &Path, revocations: &Revocations) -> Result<(), Fault> {
        let mut keys = BTreeSet::new();
        for Revocation { what, .. } in revocations.iter() {
            match what {
                Revoked::Key(fingerprint) => drop(keys.insert(*fingerprint)),
                Revoked::Account(account) => keys.extend(self.keys_of(account.as_str())),
            }
        }
        let is_current = self.list.as_ref().is_some_and(|list| list.path == path && list.keys == keys);
        if is_current && path.exists() {
            return Ok(());
        }
        replace(path, &revocation_list(&keys))
            .map_err(|source| Fault::List { path: path.to_owned(), source })?;
        self.list = Some(List { path: path.to_owned(), keys });
        Ok(())
    }
}

impl Scan {
    fn of(
        cache: &Cache,
        heads: Vec<(SourceName, Head)>,
        accounts: BTreeSet<String>,
    ) -> Result<Self, ReadError> {
        let start = Instant::now();
        let mut keys = accounts.into_iter().map(|account| (account, Vec::new())).collect();
        let mut buffer = Vec::new();
        for (name, _) in &heads {
            let source = cache.source(name)?;
            (0..source.shard_count())
                .try_for_each(|index| source.keys_of_accounts(index, &mut buffer, &mut keys))?;
        }
        Ok(Self { heads, keys, ended_at: Instant::now(), took: start.elapsed() })
    }
}

fn account_of(revocation: &Revocation) -> Option<String> {
    match &revocation.what {
        Revoked::Key(_) => None,
        Revoked::Account(account) => Some(account.to_string()),
    }
}

fn heads(cache: &Cache) -> Result<Vec<(SourceName, Head)>, ReadError> {
    let names = cache.sources()?.into_iter();
    names.map(|name| cache.source(&name).map(|source| (name, source.head().clone()))).collect()
}

/// Whether the same keys are in force by both. HEAD's times alone mean nothing.
fn is_same_state(before: &[(SourceName, Head)], now: &[(SourceName, Head)]) -> bool {
    let state = |(name, head): &(SourceName, Head)| {
        // Without a cursor, nothing tells two states apart.
        head.cursor.clone().map(|cursor| (name.clone(), head.generation, cursor))
    };
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| state(before).is_some() && state(before) == state(now))
}

#[derive(Debug)]
enum Fault {
    Read(ReadError),
    Write(WriteError),
    List { path: PathBuf, source: io::Error },
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(out, "{}", ErrorReport::of(error)),
            Self::Write(error) => write!(out, "{}", ErrorReport::of(error)),
            Self::List { path, source } => {
                write!(out, "cannot replace the revoked_keys_file `{}`: {source}", path.display())
            }
        }
    }
}

/// Whether every key service has said of `revocation`, after it was made, that it does not have such a key.
///
/// On a host without a key service the other sources alone decide.
fn is_settled(revocation: &Revocation, status: &Status) -> bool {
    let what = revocation.what.to_string();
    status.sources.iter().filter(|source| source.kind == "feed").all(|source| {
        status.reports.iter().any(|report| {
            report.source == source.name
                && report.what == what
                && report.answer == ReportAnswer::Settled
                && report.told_at.parse::<Timestamp>().is_ok_and(|told_at| told_at > revocation.since)
        })
    })
}

/// Whether a source has the key.
fn is_held(folder: &Path, fingerprint: &Fingerprint) -> Result<bool, ReadError> {
    for one in Cache::open(folder)?.consult(fingerprint)?.sources {
        if one.found?.1.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An OpenSSH key revocation list of `keys` by their SHA-256 (PROTOCOL.krl, version 1), the same for the same keys.
///
/// A list of fingerprints, because a key can be revoked of which no source has the text.
fn revocation_list(keys: &BTreeSet<Fingerprint>) -> Vec<u8> {
    const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
    const VERSION: u32 = 1;
    const FINGERPRINT_SHA256: u8 = 5;
    let mut list = MAGIC.to_vec();
    list.extend(VERSION.to_be_bytes());
    // The list's own number, its date and its flags.
    list.extend([0; 3 * size_of::<u64>()]);
    append(&mut list, b"");
    append(&mut list, b"pushkeys");
    if !keys.is_empty() {
        let mut section = Vec::new();
        for key in keys {
            append(&mut section, key.as_bytes());
        }
        list.push(FINGERPRINT_SHA256);
        append(&mut list, &section);
    }
    list
}

/// Appends `bytes` with their length before them (RFC 4251 section 5, `string`).
fn append(list: &mut Vec<u8>, bytes: &[u8]) {
    // An account has at most as many keys as a host, whose fingerprints take less than 4 GiB.
    list.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    list.extend_from_slice(bytes);
}

/// Replaces the file at `path`, durably. sshd refuses every key while it cannot read it, so it is never half there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    // Whatever stands under that name is a leftover of ours, or is not to be written through.
    let _ = fs::remove_file(&next);
    let mut file = File::create_new(&next)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether ssh-keygen finds the key in the list.
    fn is_revoked(folder: &Path, list: &[u8], key: &str) -> bool {
        replace(&folder.join("list"), list).unwrap();
        fs::write(folder.join("key.pub"), key).unwrap();
        let output = Command::new("ssh-keygen")
            .arg("-Qf")
            .arg(folder.join("list"))
            .arg(folder.join("key.pub"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("REVOKED") || said.contains("ok"), "{output:?}");
        said.contains("REVOKED")
    }

    #[test]
    fn openssh_reads_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let ana = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1eqRm75Cn6V7qPQDeMAkRqexxT/MhuRsCwnzJoA66k";
        let ben = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID17RZdCZryGPnnbvX9+dJEtTPPb8vhANizEKaLnNBhN";
        let fingerprint = |key| {
            pushkeys_keys::ValidKey::check(key, &pushkeys_keys::Policy::default()).unwrap().fingerprint()
        };
        let mut revoked: BTreeSet<Fingerprint> =
            (0..100_u32).map(|number| Fingerprint::of(&number.to_be_bytes())).collect();
        revoked.insert(fingerprint(ana));
        assert!(is_revoked(folder.path(), &revocation_list(&revoked), ana));
        assert!(!is_revoked(folder.path(), &revocation_list(&revoked), ben));
        assert!(!is_revoked(folder.path(), &revocation_list(&BTreeSet::new()), ana));
    }

    #[test]
    fn a_revocation_is_settled_when_every_service_says_so_after_it() {
        let since: Timestamp = "2026-11-24T11:00:00Z".parse().unwrap();
        let key = Revocation { what: Revoked::Key(Fingerprint::of(b"ana")), since };
        let check = |kinds: &[&str], answers: &[(&str, ReportAnswer, &str)], expected: bool| {
            let board = Board::new(Path::new("/nonexistent"), Path::new(""));
            let mut status = board.snapshot();
            for kind in kinds {
                status.sources.push(source(kind));
            }
            for (source, answer, told_at) in answers {
                status.reports.push(pushkeys_cache::status::RevocationReport {
                    what: key.what.to_string(),
                    source: (*source).to_owned(),
                    told_at: (*told_at).to_owned(),
                    answer: *answer,
                });
            }
            assert_eq!(is_settled(&key, &status), expected, "{kinds:?} {answers:?}");
        };
        let (before, after) = ("2026-11-24T10:59:00Z", "2026-11-24T11:00:01Z");
        check(&["directory"], &[], true);
        check(&["feed"], &[], false);
        check(&["feed"], &[("feed", ReportAnswer::Settled, after)], true);
        check(&["feed"], &[("feed", ReportAnswer::Settled, before)], false);
        check(&["feed"], &[("feed", ReportAnswer::Pending, after)], false);
        check(&["feed"], &[("feed", ReportAnswer::Dismissed, after)], false);
        check(&["feed"], &[("other", ReportAnswer::Settled, after)], false);
    }

    #[test]
    fn keys_of_accounts_are_looked_for_when_the_cache_has_changed_and_not_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut writer = pushkeys_cache::Writer::open(&path, &"api".parse().unwrap()).unwrap();
        let stamps = pushkeys_cache::Stamps { synced_at: Timestamp::UNIX_EPOCH, valid_until: None };
        let mut next = writer.begin().unwrap();
        next.push(entry(1)).unwrap();
        writer.commit(next.finish().unwrap(), Some("e-1"), stamps).unwrap();
        let mut revocations = Revocations::default();
        revocations.add(Revoked::Account("acct_7".parse().unwrap()), Timestamp::UNIX_EPOCH);
        let status = Board::new(&path, Path::new("")).snapshot();
        let mut keeper = Keeper { folder: path, list: None, accounts: None, said: None };
        let look = |keeper: &mut Keeper| {
            let is_new = keeper.look_for_accounts(&revocations, &status, true).unwrap();
            (is_new, keeper.keys_of("acct_7").len())
        };
        assert_eq!(look(&mut keeper), (true, 1));
        assert_eq!(look(&mut keeper), (true, 1));
        writer.apply(&[pushkeys_cache::Change::Put(entry(2))], Some("e-2"), stamps).unwrap();
        assert_eq!(look(&mut keeper), (false, 1), "there was a look a moment ago");
        keeper.accounts.as_mut().unwrap().ended_at -= SCAN_INTERVAL;
        assert_eq!(look(&mut keeper), (true, 2));
    }

    fn entry(number: u8) -> pushkeys_cache::Entry {
        pushkeys_cache::Entry {
            fingerprint: Fingerprint::of(&[number]),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: format!("key_{number}").parse().unwrap(),
            account_name: None,
            key_name: None,
            line: "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap(),
        }
    }

    fn source(kind: &str) -> pushkeys_cache::status::SourceStatus {
        serde_json::from_value(serde_json::json!({
            "name": kind, "kind": kind, "state": "in-step", "since": "", "keys": 0, "generation": null, "cursor": null,
            "sequence_at_source": null, "synced_at": null, "valid_until": null, "last_change_at": null,
            "last_error": null, "skipped": {"count": 0, "recent": []}, "held": null
        }))
        .unwrap()
    }
}
