//! What is known of every source, and the file that says so.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::Head;
use pushkeys_cache::status::{
    Conflict, HeldStatus, Problem, RevocationReport, STATUS_FILE, Skipped, SourceStatus, State, Status,
};
use pushkeys_keys::SourceName;
use tokio::sync::Notify;

use crate::config::Settings;
use crate::validate::{Skip, Skips};

/// The file is replaced at most this often.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
const FILE_MODE: u32 = 0o640;
/// How many left-out entries and conflicts are named; the others are counted.
const SKIPPED_NAMED_MAX: usize = 10;
const CONFLICTS_NAMED_MAX: usize = 100;
/// How many left-out entries of a source are logged between two full syncs.
const SKIPPED_LOGGED_MAX: u64 = 20;

/// The state of the daemon, for `status.json` and for systemd.
#[derive(Debug)]
pub(crate) struct Board {
    path: PathBuf,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    status: Status,
    sources: BTreeMap<SourceName, SourceStatus>,
    counts: BTreeMap<SourceName, Counts>,
    /// What a daemon before this one said of its sources.
    before: Vec<SourceStatus>,
}

/// What is counted of a source as long as the daemon runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Keys that were added, changed or removed.
    pub(crate) changes: u64,
    /// Connections and syncs that failed.
    pub(crate) failures: u64,
}

impl Board {
    pub(crate) fn new(cache: &Path, config: &Path) -> Self {
        let status = Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: now(),
            written_at: now(),
            config: config.to_owned(),
            config_error: None,
            sources: Vec::new(),
            conflicts_count: 0,
            conflicts: Vec::new(),
            reports: Vec::new(),
        };
        let before = Status::read(cache).map(|status| status.sources).unwrap_or_default();
        let inner = Inner { status, sources: BTreeMap::new(), counts: BTreeMap::new(), before };
        Self { path: cache.join(STATUS_FILE), inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// Puts a source on the board, or takes it up again under new settings.
    pub(crate) fn add(&self, settings: &Settings) {
        let mut inner = self.lock();
        let Inner { sources, before, .. } = &mut *inner;
        let kind = settings.kind_name().to_owned();
        // A restart changes no key.
        let before = before.iter().find(|source| source.name == settings.name.as_str());
        let source = sources.entry(settings.name.clone()).or_insert_with(|| SourceStatus {
            name: settings.name.to_string(),
            kind: String::new(),
            state: State::Starting,
            since: now(),
            keys: 0,
            generation: None,
            cursor: None,
            sequence_at_source: None,
            synced_at: None,
            valid_until: None,
            last_change_at: before.and_then(|before| before.last_change_at.clone()),
            last_change: before.and_then(|before| before.last_change.clone()),
            last_error: None,
            skipped: Skipped::default(),
            held: None,
        });
        source.kind = kind;
        self.changed.notify_one();
    }

    pub(crate) fn remove(&self, name: &SourceName) {
        let mut inner = self.lock();
        inner.sources.remove(name);
        inner.counts.remove(name);
        drop(inner);
        self.changed.notify_one();
    }

    pub(crate) fn state(&self, name: &SourceName, state: State) {
        self.update(name, |source| enter(source, state));
    }

    /// What went wrong with `name`, in words that are safe to print. A held snapshot stays what the source's state tells.
    pub(crate) fn failed(&self, name: &SourceName, state: State, what: &str) {
        self.count(name, |counts| counts.failures += 1);
        self.update(name, |source| {
            source.last_error = Some(Problem { at: now(), what: what.to_owned() });
            enter(source, state);
        });
    }

    /// What HEAD says now. `cursor` is the part of it that the source would understand.
    pub(crate) fn head(&self, name: &SourceName, head: &Head, cursor: Option<String>) {
        self.update(name, |source| {
            source.keys = head.keys;
            source.generation = Some(head.generation);
            source.cursor = cursor;
            source.synced_at = Some(head.stamps.synced_at.to_string());
            source.valid_until = head.stamps.valid_until.map(|until| until.to_string());
        });
    }

    /// So many keys have changed; `last` says how the last of them did.
    pub(crate) fn changed(&self, name: &SourceName, keys: u64, last: Option<String>) {
        self.count(name, |counts| counts.changes += keys);
        self.update(name, |source| {
            source.last_change_at = Some(now());
            source.last_change = last;
        });
    }

    pub(crate) fn sequence_at_source(&self, name: &SourceName, sequence: u64) {
        self.update(name, |source| source.sequence_at_source = Some(sequence));
    }

    pub(crate) fn held(&self, name: &SourceName, held: Option<&pushkeys_cache::Held>) {
        self.update(name, |source| {
            source.held = held.map(|held| HeldStatus {
                since: held.since.to_string(),
                keys_in_force: held.keys_in_force,
                keys_offered: held.keys_offered,
                removed: held.removed,
                added: held.added,
            });
        });
    }

    /// What a full sync left out, which takes the place of what was counted before.
    pub(crate) fn skipped_anew(&self, name: &SourceName, skips: &Skips) {
        self.update(name, |source| source.skipped = Skipped::default());
        skips.first.iter().for_each(|skip| self.skipped(name, skip));
        self.update(name, |source| source.skipped.count = skips.count);
    }

    /// An entry was left out: counts it, and logs it unless that has happened often.
    pub(crate) fn skipped(&self, name: &SourceName, skip: &Skip) {
        self.update(name, |source| {
            source.skipped.count += 1;
            if source.skipped.count <= SKIPPED_LOGGED_MAX {
                tracing::warn!(source = %name, "`{name}`: entry left out: {skip}");
            }
            if source.skipped.count == SKIPPED_LOGGED_MAX {
                tracing::warn!(source = %name, "`{name}`: further entries are left out without a line each; status.json counts them");
            }
            if source.skipped.recent.len() >= SKIPPED_NAMED_MAX {
                source.skipped.recent.remove(0);
            }
            source.skipped.recent.push(skip.to_string());
        });
    }

    pub(crate) fn config_error(&self, what: Option<String>) {
        self.lock().status.config_error = what.map(|what| Problem { at: now(), what });
        self.changed.notify_one();
    }

    pub(crate) fn conflicts(&self, conflicts: &BTreeMap<String, Conflict>) {
        let mut inner = self.lock();
        inner.status.conflicts_count = conflicts.len() as u64;
        inner.status.conflicts = conflicts.values().take(CONFLICTS_NAMED_MAX).cloned().collect();
        drop(inner);
        self.changed.notify_one();
    }

    /// What the key service of `name` was told of revocations, and said to it.
    pub(crate) fn reported(&self, name: &SourceName, reports: Vec<RevocationReport>) {
        let mut inner = self.lock();
        inner.status.reports.retain(|report| report.source != name.as_str());
        inner.status.reports.extend(reports);
        drop(inner);
        self.changed.notify_one();
    }

    /// The status as it is now.
    pub(crate) fn snapshot(&self) -> Status {
        let inner = self.lock();
        Status {
            sources: inner.sources.values().cloned().collect(),
            written_at: now(),
            ..inner.status.clone()
        }
    }

    /// What was counted of each source, by its name.
    pub(crate) fn counts(&self) -> BTreeMap<String, Counts> {
        self.lock().counts.iter().map(|(name, counts)| (name.to_string(), *counts)).collect()
    }

    /// Where the cache of `name` stands, in the source's own words.
    pub(crate) fn cursor_of(&self, name: &SourceName) -> Option<String> {
        self.lock().sources.get(name)?.cursor.clone()
    }

    /// Whether `name` is as its source says.
    pub(crate) fn state_of(&self, name: &SourceName) -> Option<State> {
        self.lock().sources.get(name).map(|source| source.state)
    }

    /// Keeps the file up to date for ever.
    pub(crate) async fn publish(&self) {
        let mut has_failed = false;
        loop {
            self.changed.notified().await;
            match self.write() {
                Ok(()) => has_failed = false,
                Err(error) if !has_failed => {
                    has_failed = true;
                    tracing::warn!("cannot write `{}`: {error}", self.path.display());
                }
                Err(_) => {}
            }
            tokio::time::sleep(WRITE_INTERVAL).await;
        }
    }

    /// Replaces the file: whoever reads it sees the old one or the new one.
    pub(crate) fn write(&self) -> io::Result<()> {
        let json = self.snapshot().to_json();
        let next = self.path.with_extension("json.new");
        // Whatever stands under that name is a leftover of ours, or is not to be written through.
        let _ = std::fs::remove_file(&next);
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&next)?;
        file.write_all(&json)?;
        std::fs::rename(&next, &self.path)
    }

    fn update(&self, name: &SourceName, change: impl FnOnce(&mut SourceStatus)) {
        let mut inner = self.lock();
        if let Some(source) = inner.sources.get_mut(name) {
            change(source);
        }
        drop(inner);
        self.changed.notify_one();
    }

    fn count(&self, name: &SourceName, change: impl FnOnce(&mut Counts)) {
        change(self.lock().counts.entry(name.clone()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A status that somebody stopped writing half-way is still a status.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enter(source: &mut SourceStatus, state: State) {
    if source.state != state {
        source.state = state;
        source.since = now();
    }
}

/// Now, to the second.
fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
