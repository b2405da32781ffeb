//! The part of the cache that one source fills.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::Stamps;
use pushkeys_feed::Position;
use pushkeys_keys::SourceName;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::liveness::Liveness;
use crate::config::{RemovalLimit, SourceSettings};
use crate::history::{History, HistoryError};
use crate::status::conflicts::ConflictWatch;
use crate::status::store::StatusWriter;

/// What the applier of a source works on, and where it publishes what it has applied.
#[derive(Debug)]
pub(crate) struct SourceCache {
    pub(crate) name: SourceName,
    /// The folder of the whole cache.
    pub(crate) folder: PathBuf,
    /// How long lookups are answered after the last contact; `None` is for ever.
    pub(super) max_stale: Option<Duration>,
    pub(super) removal_limit: Option<RemovalLimit>,
    /// Tells apart what entries are rendered by.
    renderer: String,
    /// Tells apart where they come from.
    pub(super) origin: String,
    pub(super) status: StatusWriter,
    pub(super) conflicts: Arc<ConflictWatch>,
    pub(super) liveness: Liveness,
    /// Held as long as an applier of this source runs.
    writer_lock: Arc<Mutex<()>>,
    pub(super) in_force: watch::Sender<Option<InForce>>,
}

/// What HEAD says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InForce {
    /// In the source's own words; `None` when a full sync is due.
    pub(crate) cursor: Option<String>,
    /// Whether something is held back, and waits for confirmation.
    pub(crate) is_held: bool,
    /// The source's history until then.
    pub(crate) history: History,
}

impl SourceCache {
    pub(crate) fn new(
        settings: &SourceSettings,
        folder: PathBuf,
        status: StatusWriter,
        conflicts: Arc<ConflictWatch>,
    ) -> Self {
        Self {
            name: settings.name.clone(),
            folder,
            max_stale: settings.max_stale,
            removal_limit: settings.removal_limit,
            renderer: settings.renderer_tag(),
            origin: settings.origin_tag(),
            status,
            conflicts,
            liveness: Liveness::new(),
            writer_lock: Arc::default(),
            in_force: watch::Sender::new(None),
        }
    }

    /// Waits until no applier of this source runs.
    pub(crate) async fn lock_writer(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.writer_lock).lock_owned().await
    }

    /// For how long the applier has been busy without a sign of life.
    pub(crate) fn stuck_for(&self) -> Duration {
        self.liveness.stuck_for()
    }

    /// What is in force, as often as HEAD is written; `None` as long as nothing is.
    pub(crate) fn in_force(&self) -> watch::Receiver<Option<InForce>> {
        self.in_force.subscribe()
    }

    /// Whether something is held back, and waits for confirmation.
    pub(crate) fn is_held(&self) -> bool {
        self.in_force.borrow().as_ref().is_some_and(|in_force| in_force.is_held)
    }

    /// Whether a snapshot of the state after `offered` may take the place of what is in force.
    pub(crate) fn check_snapshot(&self, offered: &Position) -> Result<(), HistoryError> {
        self.in_force.borrow().as_ref().map_or(Ok(()), |in_force| in_force.history.check_snapshot(offered))
    }

    /// In sync now, and good until `max_stale` from now.
    pub(super) fn stamps(&self) -> Stamps {
        self.stamps_of(Timestamp::now())
    }

    /// In sync at `synced_at`, and good until `max_stale` from then.
    pub(super) fn stamps_of(&self, synced_at: Timestamp) -> Stamps {
        let valid_until = self.max_stale.map(|span| synced_at.saturating_add(span).unwrap_or(Timestamp::MAX));
        Stamps { synced_at, valid_until }
    }

    /// `cursor` as HEAD keeps it: behind what its entries are rendered by, so that it counts only with the same.
    pub(super) fn tagged(&self, cursor: &str) -> String {
        format!("{}:{cursor}", self.renderer)
    }

    /// The cursor in `tagged`, in the source's own words, whatever its entries are rendered by.
    pub(super) fn untagged(tagged: &str) -> &str {
        tagged.split_once(':').unwrap_or_default().1
    }

    /// The cursor in `tagged`, if its entries are rendered as they would be now.
    pub(super) fn resumable<'a>(&self, tagged: &'a str) -> Option<&'a str> {
        tagged.strip_prefix(&self.renderer)?.strip_prefix(':')
    }
}
