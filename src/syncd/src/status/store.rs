//! The status store: takes what is known of every source, and keeps `status.json` up to date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::status::{HostKeysStatus, STATUS_FILE, Skipped, State, Status};
use pushkeys_cache::{Head, Held};
use pushkeys_files::{Attributes, WriteFileError};
use pushkeys_keys::{ErrorReport, Fingerprint, SourceName};
use tokio::sync::Notify;

use super::facts::{Conflicts, Facts, LastChange, LastError, SourceFacts};
use crate::config::SourceSettings;
use crate::revocation::answers::RevocationAnswers;
use crate::validate::{Skip, Skips};

/// The file is replaced at most this often.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
const FILE_MODE: u32 = 0o640;
/// How many skipped entries of a source are named.
const SKIPPED_NAMED_MAX: usize = 10;
/// Of how many skipped entries of a source the keys are kept.
const SKIPPED_KEYS_MAX: usize = 10_000;
/// How many skipped entries of a source are logged between two full syncs.
const SKIPPED_LOGGED_MAX: u64 = 20;

#[derive(Debug)]
pub(crate) struct StatusStore {
    path: PathBuf,
    facts: Mutex<Facts>,
    /// What was last changed in each source before this daemon ran, which a restart does not change.
    changes_before: BTreeMap<String, LastChange>,
    answers: Arc<RevocationAnswers>,
    changed: Notify,
}

/// Writes what is known of one source.
#[derive(Debug, Clone)]
pub(crate) struct StatusWriter {
    store: Arc<StatusStore>,
    name: SourceName,
}

impl StatusStore {
    /// The store for the cache in the folder `cache` under the configuration file `config`. The status that stands there is
    /// read for one thing that is only shown again: the last change of each source.
    pub(crate) fn new(cache: &Path, config: &Path, answers: Arc<RevocationAnswers>) -> Self {
        let before = Status::read(cache).map(|status| status.sources).unwrap_or_default();
        let changes_before =
            before.iter().filter_map(|source| Some((source.name.clone(), LastChange::of(source)?))).collect();
        let facts = Facts {
            config: config.to_owned(),
            started_at: Timestamp::now(),
            config_error: None,
            watch_error: None,
            sources: BTreeMap::new(),
            conflicts: Conflicts::new(),
        };
        Self {
            path: cache.join(STATUS_FILE),
            facts: Mutex::new(facts),
            changes_before,
            answers,
            changed: Notify::new(),
        }
    }

    /// Adds a source, or goes on with it under new settings.
    pub(crate) fn add(self: &Arc<Self>, settings: &SourceSettings) -> StatusWriter {
        let name = settings.name.clone();
        let kind = settings.kind_name();
        self.update(|facts| {
            let last_change = || self.changes_before.get(name.as_str()).cloned();
            let source =
                facts.sources.entry(name.clone()).or_insert_with(|| SourceFacts::new(kind, last_change()));
            source.kind = kind;
            source.refresh_interval = settings.refresh_interval();
        });
        StatusWriter { store: Arc::clone(self), name }
    }

    pub(crate) fn remove(&self, name: &SourceName) {
        self.update(|facts| drop(facts.sources.remove(name)));
    }

    pub(crate) fn config_error(&self, error: Option<ErrorReport>) {
        self.update(|facts| facts.config_error = error.map(LastError::now));
    }

    /// Whether the files of the configuration are watched. What is the same is not told again.
    pub(crate) fn watch_error(&self, error: Option<&ErrorReport>) {
        if LastError::is_news(self.lock().watch_error.as_ref(), error) {
            warn_unwatched(error);
            self.update(|facts| facts.watch_error = error.cloned().map(LastError::now));
        }
    }

    pub(crate) fn conflicts(&self, conflicts: Conflicts) {
        self.update(|facts| facts.conflicts = conflicts);
    }

    /// The state of every source in one line.
    pub(crate) fn line(&self) -> String {
        let line = |(name, source): (&SourceName, &SourceFacts)| {
            format!("{name} {}, {} keys", source.state.as_str(), source.keys())
        };
        self.lock().sources.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The folder of the cache.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// What is known now, to be shown.
    pub(crate) fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Keeps the file up to date for ever.
    pub(crate) async fn publish(self: Arc<Self>) {
        let mut answers = self.answers.subscribe();
        let mut has_failed = false;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                // The store holds the answers, so they do not end before it.
                _ = answers.changed() => {}
            }
            let store = Arc::clone(&self);
            // A slow disk delays the status and no source.
            match tokio::task::spawn_blocking(move || store.write()).await {
                Ok(Ok(())) => has_failed = false,
                Ok(Err(error)) if !has_failed => {
                    has_failed = true;
                    tracing::warn!("the status is not kept: {}", ErrorReport::of(&error));
                }
                Ok(Err(_)) => {}
                Err(_) => return,
            }
            tokio::time::sleep(WRITE_INTERVAL).await;
        }
    }

    /// Replaces the file: a reader sees the old one or the new one.
    pub(crate) fn write(&self) -> Result<(), WriteFileError> {
        let status = Status { reports: self.answers.to_status(), ..self.facts().to_status() };
        pushkeys_files::replace(&self.path, &status.to_json(), Attributes::mode(FILE_MODE))
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // Facts of which an update broke off are still facts.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_unwatched(error: Option<&ErrorReport>) {
    if let Some(error) = error {
        tracing::warn!("files are only read every few seconds: {error}");
    }
}

impl StatusWriter {
    /// Whether the files of the source are watched. What is the same is not told again.
    pub(crate) fn watch_error(&self, error: Option<&ErrorReport>) {
        let is_news = self
            .store
            .lock()
            .sources
            .get(&self.name)
            .is_some_and(|source| LastError::is_news(source.watch_error.as_ref(), error));
        if is_news {
            warn_unwatched(error);
            self.update(|source| source.watch_error = error.cloned().map(LastError::now));
        }
    }

    /// The source has said something about the key `fingerprint` that is right: its entry is no longer one that is left out.
    pub(crate) fn understood(&self, fingerprint: &Fingerprint) {
        let is_skipped = |facts: &Facts| {
            facts.sources.get(&self.name).is_some_and(|source| source.skipped_keys.contains(fingerprint))
        };
        if is_skipped(&self.store.lock()) {
            self.update(|source| {
                source.skipped_keys.remove(fingerprint);
                source.skipped.count = source.skipped.count.saturating_sub(1);
                if source.skipped.count == 0 {
                    source.skipped.recent.clear();
                }
            });
        }
    }

    pub(crate) fn state(&self, state: State) {
        self.update(|source| source.enter(state));
    }

    /// A full sync begins, which is worth showing as long as there was none.
    pub(crate) fn first_sync(&self) {
        self.update(|source| {
            if source.state == State::Starting {
                source.enter(State::Syncing);
            }
        });
    }

    pub(crate) fn failed(&self, state: State, error: ErrorReport) {
        self.update(|source| {
            source.failures += 1;
            source.last_error = Some(LastError::now(error));
            source.enter(state);
        });
    }

    /// What HEAD says now, with `cursor` in the source's own words.
    pub(crate) fn head(&self, head: &Head, cursor: Option<String>) {
        self.update(|source| source.head = Some(Head { cursor, ..head.clone() }));
    }

    /// This number of keys has changed; `last` says how the last of them did.
    pub(crate) fn changed(&self, keys: u64, last: Option<String>) {
        self.update(|source| {
            source.changes += keys;
            source.last_change = Some(LastChange { at: Timestamp::now(), what: last });
        });
    }

    pub(crate) fn sequence_at_source(&self, sequence: u64) {
        self.update(|source| source.sequence_at_source = Some(sequence));
    }

    pub(crate) fn held(&self, held: Option<Held>) {
        self.update(|source| source.held = held);
    }

    /// Records the host keys that were reported, and the answer of the service.
    pub(crate) fn host_keys(&self, host_keys: HostKeysStatus) {
        self.update(|source| source.host_keys = Some(host_keys));
    }

    /// What a full sync has skipped, in place of what was counted before.
    pub(crate) fn all_skipped(&self, skips: &Skips) {
        let from = skips.first.len().saturating_sub(SKIPPED_NAMED_MAX);
        let recent: Vec<String> = skips.first.iter().skip(from).map(Skip::to_string).collect();
        let mut is_same = false;
        self.update(|source| {
            is_same = source.skipped.count == skips.count && source.skipped.recent == recent;
            if !is_same {
                source.skipped = Skipped::default();
                source.skipped_keys.clear();
            }
        });
        if is_same {
            return;
        }
        skips.first.iter().for_each(|skip| self.skipped(skip));
        self.update(|source| source.skipped.count = skips.count);
    }

    /// An entry was skipped: counts it, and logs it unless that has happened often.
    pub(crate) fn skipped(&self, skip: &Skip) {
        let name = &self.name;
        self.update(|source| {
            // The same key again is the same entry.
            if let Some(fingerprint) = skip.fingerprint
                && source.skipped_keys.len() < SKIPPED_KEYS_MAX
                && !source.skipped_keys.insert(fingerprint)
            {
                return;
            }
            let Skipped { count, recent } = &mut source.skipped;
            *count += 1;
            if *count <= SKIPPED_LOGGED_MAX {
                tracing::warn!(source = %name, "`{name}`: entry left out: {skip}");
            }
            if *count == SKIPPED_LOGGED_MAX {
                tracing::warn!(source = %name, "`{name}`: further entries are left out without a line each; status.json counts them");
            }
            if recent.len() >= SKIPPED_NAMED_MAX {
                recent.remove(0);
            }
            recent.push(skip.to_string());
        });
    }

    fn update(&self, change: impl FnOnce(&mut SourceFacts)) {
        self.store.update(|facts| {
            if let Some(source) = facts.sources.get_mut(&self.name) {
                change(source);
            }
        });
    }
}
