//! What is revoked on this host: lifted once the key services agree, and, where that is configured, in a file for sshd.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::status::{ReportAnswer, Status};
use cache::{Cache, ReadError, Revocation, Revocations, Revoked, WriteError};
use jiff::Timestamp;
use keys::{AccountId, Fingerprint, chain};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::board::Board;
use crate::report::revoked_in;

/// How soon a revocation is in the file for sshd, and is lifted when nothing needs it any more.
const TICK: Duration = Duration::from_secs(1);
/// The keys of an account are found by reading every key, so not every time.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
/// sshd reads the file as root; its folder decides who else may.
const FILE_MODE: u32 = 0o644;

/// Watches over the cache in `folder` for ever. `file` is where sshd's `RevokedKeys` points, if that is configured.
pub(crate) async fn run(folder: PathBuf, board: Arc<Board>, file: watch::Receiver<Option<PathBuf>>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper { folder, list: None, said: None };
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
    /// What is in the file for sshd, and since when.
    list: Option<List>,
    /// The fault that was said last.
    said: Option<String>,
}

struct List {
    path: PathBuf,
    revocations: Revocations,
    written_at: Instant,
}

impl Keeper {
    fn keep(mut self, status: &Status, path: Option<&Path>) -> Self {
        let kept = revoked_in(&self.folder).map_err(Fault::from).and_then(|revocations| {
            if let Some(path) = path {
                self.keep_list(path, &revocations)?;
            }
            self.lift(&revocations, status)
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

    /// Lifts what every key service says it does not have, and no source of this host has any more.
    fn lift(&self, revocations: &Revocations, status: &Status) -> Result<(), Fault> {
        for revocation in revocations.iter().filter(|revocation| is_settled(revocation, status)) {
            let what = &revocation.what;
            if keys_of(&self.folder, what)?.is_empty() {
                cache::change_revocations(&self.folder, |all| all.remove(what))?;
                tracing::info!("the {what} is no longer revoked on this host: no source has it any more");
            }
        }
        Ok(())
    }

    fn keep_list(&mut self, path: &Path, revocations: &Revocations) -> Result<(), Fault> {
        let has_account = revocations.iter().any(|one| matches!(one.what, Revoked::Account(_)));
        let is_current = self.list.as_ref().is_some_and(|list| {
            list.path == path
                && list.revocations == *revocations
                && !(has_account && list.written_at.elapsed() >= SCAN_INTERVAL)
        });
        if is_current && path.exists() {
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        for Revocation { what, .. } in revocations.iter() {
            if let Revoked::Key(fingerprint) = what {
                keys.insert(*fingerprint);
            }
            keys.extend(keys_of(&self.folder, what)?);
        }
        replace(path, &revocation_list(&keys))
            .map_err(|source| Fault::List { path: path.to_owned(), source })?;
        self.list = Some(List {
            path: path.to_owned(),
            revocations: revocations.clone(),
            written_at: Instant::now(),
        });
        Ok(())
    }
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
            Self::Read(error) => out.write_str(&chain(error)),
            Self::Write(error) => out.write_str(&chain(error)),
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

/// The keys that sources have and `what` takes away.
fn keys_of(folder: &Path, what: &Revoked) -> Result<Vec<Fingerprint>, ReadError> {
    let cache = Cache::open(folder)?;
    match what {
        Revoked::Key(fingerprint) => {
            for one in cache.consult(fingerprint)?.sources {
                if one.found?.1.is_some() {
                    return Ok(vec![*fingerprint]);
                }
            }
            Ok(Vec::new())
        }
        Revoked::Account(account) => keys_of_account(&cache, account),
    }
}

fn keys_of_account(cache: &Cache, account: &AccountId) -> Result<Vec<Fingerprint>, ReadError> {
    let mut keys = Vec::new();
    for name in cache.sources()? {
        for entry in cache.source(&name)?.entries() {
            let entry = entry?;
            if entry.account == *account {
                keys.push(entry.fingerprint);
            }
        }
    }
    Ok(keys)
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
        let fingerprint = |key| keys::ValidKey::check(key, &keys::Policy::default()).unwrap().fingerprint();
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
                status.reports.push(cache::status::RevocationReport {
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

    fn source(kind: &str) -> cache::status::SourceStatus {
        serde_json::from_value(serde_json::json!({
            "name": kind, "kind": kind, "state": "in-step", "since": "", "keys": 0, "generation": null, "cursor": null,
            "sequence_at_source": null, "synced_at": null, "valid_until": null, "last_change_at": null,
            "last_error": null, "skipped": {"count": 0, "recent": []}, "held": null
        }))
        .unwrap()
    }
}
