//! The watch over keys that two sources give to different accounts. The lookup refuses them by itself; this reports them
//! before a login fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pushkeys_cache::{Cache, ReadError};
use pushkeys_keys::{AccountId, ErrorReport, Fingerprint, SourceName};
use tokio::sync::Notify;

use super::facts::Conflicts;
use super::store::StatusStore;

/// Up to this number of changed keys are consulted one by one; of more, the whole source is.
const KEYS_MAX: usize = 100_000;
/// How many conflicts are kept and logged; a service that claims another's keys makes one of each.
const CONFLICTS_MAX: usize = 1000;

/// What of a source has changed.
#[derive(Debug)]
pub(crate) enum Touched {
    /// These keys.
    Keys(BTreeSet<Fingerprint>),
    /// Any of its keys.
    All,
}

/// Collects what has changed until the watch has time for it.
#[derive(Debug, Default)]
pub(crate) struct ConflictWatch {
    waiting: Mutex<BTreeMap<SourceName, Touched>>,
    changed: Notify,
}

impl ConflictWatch {
    /// Keys of `source` have changed.
    pub(crate) fn touched(&self, source: &SourceName, touched: Touched) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let merged = match (waiting.remove(source), touched) {
            (None, touched) => touched,
            (Some(Touched::Keys(before)), Touched::Keys(mut keys))
                if before.len() + keys.len() <= KEYS_MAX =>
            {
                keys.extend(before);
                Touched::Keys(keys)
            }
            _ => Touched::All,
        };
        waiting.insert(source.clone(), merged);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Looks for conflicts whenever a source has changed, for ever.
    pub(crate) async fn run(self: Arc<Self>, cache: Arc<Path>, status: Arc<StatusStore>) {
        let mut known = Conflicts::new();
        loop {
            self.changed.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            let folder = Arc::clone(&cache);
            let before = known.clone();
            match tokio::task::spawn_blocking(move || find(&folder, &waiting, before)).await {
                Ok(Ok(conflicts)) => {
                    log(&known, &conflicts);
                    status.conflicts(conflicts.clone());
                    known = conflicts;
                }
                Ok(Err(error)) => tracing::warn!("cannot look for conflicts: {}", ErrorReport::of(&error)),
                Err(_) => tracing::warn!("the search for conflicts broke off"),
            }
        }
    }
}

fn log(before: &Conflicts, now: &Conflicts) {
    for (fingerprint, claims) in now.iter().filter(|(fingerprint, _)| !before.contains_key(*fingerprint)) {
        let claims: Vec<String> =
            claims.iter().map(|(source, account)| format!("{account} ({source})")).collect();
        tracing::error!("`{fingerprint}` is refused: it is claimed by {}", claims.join(" and "));
    }
    for fingerprint in before.keys().filter(|fingerprint| !now.contains_key(*fingerprint)) {
        tracing::info!("`{fingerprint}` is no longer claimed by two accounts");
    }
}

/// The conflicts after `waiting` has changed, given those `before`.
fn find(
    folder: &Path,
    waiting: &BTreeMap<SourceName, Touched>,
    before: Conflicts,
) -> Result<Conflicts, ReadError> {
    let cache = Cache::open(folder)?;
    let mut conflicts = before;
    let mut keys = BTreeSet::new();
    for (source, touched) in waiting {
        match touched {
            Touched::Keys(touched) => keys.extend(touched.iter().copied()),
            Touched::All => {
                keys.extend(conflicts.keys().copied());
                for (one, other) in pairs(&cache, source)? {
                    consult_smaller(&cache, &one, &other, &mut conflicts)?;
                }
            }
        }
    }
    if cache.sources()?.len() > 1 || !conflicts.is_empty() {
        keys.iter().try_for_each(|fingerprint| settle(&cache, fingerprint, &mut conflicts))?;
    }
    Ok(conflicts)
}

/// `source` with each other source, the smaller one of each pair first.
fn pairs(cache: &Cache, source: &SourceName) -> Result<Vec<(SourceName, SourceName)>, ReadError> {
    let keys = |name: &SourceName| cache.source(name).map_or(0, |source| source.head().keys);
    let others = cache.sources()?.into_iter().filter(|other| other != source);
    Ok(others
        .map(
            |other| {
                if keys(&other) < keys(source) { (other, source.clone()) } else { (source.clone(), other) }
            },
        )
        .collect())
}

/// Consults every key of `smaller`, which reads one shard of every other source for each.
fn consult_smaller(
    cache: &Cache,
    smaller: &SourceName,
    larger: &SourceName,
    conflicts: &mut Conflicts,
) -> Result<(), ReadError> {
    let source = match (cache.source(smaller), cache.source(larger)) {
        (Ok(source), Ok(_)) => source,
        // A source without anything in force claims nothing.
        (Err(ReadError::Missing(_)), _) | (_, Err(ReadError::Missing(_))) => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    for entry in source.entries() {
        if conflicts.len() >= CONFLICTS_MAX {
            return Ok(());
        }
        settle(cache, &entry?.fingerprint, conflicts)?;
    }
    Ok(())
}

/// Adds `fingerprint` to `conflicts` if two accounts claim it, and removes it if not.
fn settle(cache: &Cache, fingerprint: &Fingerprint, conflicts: &mut Conflicts) -> Result<(), ReadError> {
    let claims: Vec<(SourceName, AccountId)> = cache
        .consult(fingerprint)?
        .sources
        .into_iter()
        .filter_map(|consulted| Some((consulted.source, consulted.found.ok()?.1?.account)))
        .collect();
    let accounts: BTreeSet<&AccountId> = claims.iter().map(|(_, account)| account).collect();
    if accounts.len() < 2 {
        conflicts.remove(fingerprint);
    } else if conflicts.len() < CONFLICTS_MAX {
        conflicts.insert(*fingerprint, claims);
    }
    Ok(())
}
