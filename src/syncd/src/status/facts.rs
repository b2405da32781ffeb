//! What is known of the daemon and its sources, and the status that is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::status::{
    Conflict, HeldStatus, HostKeysStatus, Problem, Skipped, SourceStatus, State, Status,
};
use pushkeys_cache::{Head, Held};
use pushkeys_keys::{AccountId, ErrorReport, Fingerprint, SourceName};

/// How many conflicts are named; the others are counted.
const CONFLICTS_NAMED_MAX: usize = 100;

/// The keys that two sources give to different accounts, and which source gives it to which account.
pub(crate) type Conflicts = BTreeMap<Fingerprint, Vec<(SourceName, AccountId)>>;

#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(super) config: PathBuf,
    pub(super) started_at: Timestamp,
    /// Why the newest configuration is not in force, if it is not.
    pub(crate) config_error: Option<LastError>,
    /// Why changes of the configuration and of credentials are not noticed at once, if they are not.
    pub(super) watch_error: Option<LastError>,
    pub(crate) sources: BTreeMap<SourceName, SourceFacts>,
    pub(crate) conflicts: Conflicts,
}

/// What is known of one source.
#[derive(Debug, Clone)]
pub(crate) struct SourceFacts {
    /// As the configuration calls it.
    pub(super) kind: &'static str,
    pub(crate) state: State,
    pub(super) since: Timestamp,
    /// HEAD, with the cursor in the source's own words.
    pub(crate) head: Option<Head>,
    /// The number of the last change at the source, where it numbers them.
    pub(crate) sequence_at_source: Option<u64>,
    pub(super) last_change: Option<LastChange>,
    pub(super) last_error: Option<LastError>,
    /// The longest time between two refreshes of HEAD, where it is refreshed.
    pub(super) refresh_interval: Option<Duration>,
    pub(super) watch_error: Option<LastError>,
    pub(crate) skipped: Skipped,
    /// The keys of skipped entries, as long as they are few: one that is right later is no longer skipped.
    pub(super) skipped_keys: BTreeSet<Fingerprint>,
    pub(crate) held: Option<Held>,
    /// The host keys that were reported to its service, and the answer.
    pub(super) host_keys: Option<HostKeysStatus>,
    /// The number of keys that were added, changed or removed since the daemon started.
    pub(crate) changes: u64,
    /// The number of connections and syncs that have failed since then.
    pub(crate) failures: u64,
}

#[derive(Debug, Clone)]
pub(super) struct LastChange {
    pub(super) at: Timestamp,
    pub(super) what: Option<String>,
}

/// What went wrong, and when.
#[derive(Debug, Clone)]
pub(crate) struct LastError {
    at: Timestamp,
    error: ErrorReport,
}

impl Facts {
    /// The status, without what key services answer to reports.
    pub(super) fn to_status(&self) -> Status {
        let conflict = |(fingerprint, claims): (&Fingerprint, &Vec<(SourceName, AccountId)>)| Conflict {
            fingerprint: fingerprint.to_string(),
            claims: claims
                .iter()
                .map(|(source, account)| (source.to_string(), account.to_string()))
                .collect(),
        };
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: to_second(self.started_at),
            written_at: to_second(Timestamp::now()),
            config: self.config.clone(),
            config_error: self.config_error.as_ref().map(LastError::to_status),
            watch_error: self.watch_error().map(LastError::to_status),
            sources: self.sources.iter().map(|(name, source)| source.to_status(name)).collect(),
            conflicts_count: self.conflicts.len() as u64,
            conflicts: self.conflicts.iter().take(CONFLICTS_NAMED_MAX).map(conflict).collect(),
            reports: Vec::new(),
        }
    }
}

impl Facts {
    /// Why changes of some files are not noticed at once, if they are not.
    pub(super) fn watch_error(&self) -> Option<&LastError> {
        let of_sources = || self.sources.values().find_map(|source| source.watch_error.as_ref());
        self.watch_error.as_ref().or_else(of_sources)
    }
}

impl SourceFacts {
    pub(super) fn new(kind: &'static str, last_change: Option<LastChange>) -> Self {
        Self {
            kind,
            refresh_interval: None,
            watch_error: None,
            state: State::Starting,
            since: Timestamp::now(),
            head: None,
            sequence_at_source: None,
            last_change,
            last_error: None,
            skipped: Skipped::default(),
            skipped_keys: BTreeSet::new(),
            held: None,
            host_keys: None,
            changes: 0,
            failures: 0,
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.since = Timestamp::now();
        }
    }

    /// How many keys are in force.
    pub(crate) fn keys(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.keys)
    }

    fn to_status(&self, name: &SourceName) -> SourceStatus {
        let head = self.head.as_ref();
        SourceStatus {
            name: name.to_string(),
            kind: self.kind.to_owned(),
            state: self.state,
            since: to_second(self.since),
            keys: self.keys(),
            generation: head.map(|head| head.generation),
            cursor: head.and_then(|head| head.cursor.clone()),
            sequence_at_source: self.sequence_at_source,
            refresh_interval_s: self.refresh_interval.map(|interval| interval.as_secs()),
            synced_at: head.map(|head| head.stamps.synced_at.to_string()),
            valid_until: head.and_then(|head| head.stamps.valid_until).map(|until| until.to_string()),
            last_change_at: self.last_change.as_ref().map(|change| to_second(change.at)),
            last_change: self.last_change.as_ref().and_then(|change| change.what.clone()),
            last_error: self.last_error.as_ref().map(LastError::to_status),
            skipped: self.skipped.clone(),
            held: self.held.as_ref().map(|held| HeldStatus {
                since: held.since.to_string(),
                keys_in_force: held.keys_in_force,
                keys_offered: held.keys_offered,
                removed: held.removed,
                added: held.added,
            }),
            host_keys: self.host_keys.clone(),
        }
    }
}

impl LastChange {
    /// What a daemon before this one has written.
    pub(super) fn of(status: &SourceStatus) -> Option<Self> {
        let at = status.last_change_at.as_ref()?.parse().ok()?;
        Some(Self { at, what: status.last_change.clone() })
    }
}

impl LastError {
    /// Whether `error` is another than `before`.
    pub(super) fn is_news(before: Option<&Self>, error: Option<&ErrorReport>) -> bool {
        before.map(|before| &before.error) != error
    }

    pub(super) fn now(error: ErrorReport) -> Self {
        Self { at: Timestamp::now(), error }
    }

    fn to_status(&self) -> Problem {
        Problem { at: to_second(self.at), what: self.error.text(), hint: self.error.hint.clone() }
    }
}

fn to_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
