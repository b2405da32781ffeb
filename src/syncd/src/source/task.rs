//! What the task of a source works with, and what the daemon knows it by.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use pushkeys_keys::ErrorReport;
use tokio::sync::Notify;

use super::error::SyncError;
use super::snapshot_turns::SnapshotTurns;
use crate::apply::source_cache::{InForce, SourceCache};
use crate::config::SourceSettings;
use crate::status::conflicts::ConflictWatch;
use crate::status::store::StatusWriter;
use crate::validate::Validator;

/// How often a source whose snapshot is held back looks for its confirmation.
const CONFIRMATION_INTERVAL: Duration = Duration::from_secs(1);

/// The confirmation that `pushkeys accept` leaves in the folder of a source; the writer validates what it says.
const CONFIRMATION_FILE: &str = "ACCEPT";

/// One source of the configuration.
#[derive(Debug)]
pub(crate) struct SourceTask {
    pub(crate) settings: SourceSettings,
    pub(crate) cache: Arc<SourceCache>,
    pub(super) validator: Arc<Validator>,
    pub(super) status: StatusWriter,
    /// Ends a pause.
    wake: Notify,
    credentials_changed: Notify,
    /// How many lines of the snapshot at hand have come.
    snapshot_lines: AtomicU64,
    snapshot_turns: Mutex<SnapshotTurns>,
    has_failed: AtomicBool,
}

impl SourceTask {
    /// A source whose keys go to the cache in `folder`.
    pub(crate) fn new(
        settings: SourceSettings,
        folder: PathBuf,
        status: StatusWriter,
        conflicts: Arc<ConflictWatch>,
    ) -> Self {
        let cache = SourceCache::new(&settings, folder, status.clone(), conflicts);
        let validator = Validator::of(&settings);
        Self {
            settings,
            cache: Arc::new(cache),
            validator: Arc::new(validator),
            status,
            wake: Notify::new(),
            credentials_changed: Notify::new(),
            snapshot_lines: AtomicU64::new(0),
            snapshot_turns: Mutex::new(SnapshotTurns::new()),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Ends a pause: something has changed that may be what the source waits for.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Says that the files of its credentials have changed.
    pub(crate) fn credentials_changed(&self) {
        self.credentials_changed.notify_one();
    }

    /// Whether keys of it are in force, or a first attempt has failed.
    pub(crate) fn is_settled(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.cache.in_force().borrow().is_some()
    }

    /// How many lines of the snapshot at hand have come.
    pub(crate) fn snapshot_lines(&self) -> u64 {
        self.snapshot_lines.load(Ordering::Relaxed)
    }

    /// Waits until the service may be asked for a snapshot.
    pub(super) async fn until_snapshot_turn(&self) {
        let wait = self.snapshot_turns.lock().unwrap_or_else(PoisonError::into_inner).wait(Instant::now());
        if !wait.is_zero() {
            let name = &self.settings.name;
            tracing::warn!(source = %name, "`{name}`: asks for too many snapshots: the next one is taken in {} s", wait.as_secs());
            tokio::time::sleep(wait).await;
        }
    }

    /// The service was asked for a snapshot.
    pub(super) fn take_snapshot_turn(&self) {
        self.snapshot_turns.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    }

    pub(super) fn snapshot_begins(&self) {
        self.snapshot_lines.store(0, Ordering::Relaxed);
    }

    pub(super) fn snapshot_goes_on(&self) {
        self.snapshot_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the files of the credentials have changed.
    pub(super) async fn until_credentials_change(&self) {
        self.credentials_changed.notified().await;
    }

    /// Forgets changes of credentials until now.
    pub(super) fn uses_new_credentials(&self) {
        let _ = self.credentials_changed.notified().now_or_never();
    }

    pub(super) fn failed(&self, error: &SyncError) {
        let report = ErrorReport::of(error);
        let name = &self.settings.name;
        tracing::warn!(source = %name, "`{name}`: {report}");
        self.status.failed(error.state(), report);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    pub(super) async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.wake.notified() => {}
        }
    }

    /// Waits until something is held back and confirmed.
    pub(super) async fn until_confirmed(&self) {
        let path = self.cache.folder.join(self.settings.name.as_str()).join(CONFIRMATION_FILE);
        let mut in_force = self.cache.in_force();
        loop {
            let is_held = |in_force: &Option<InForce>| in_force.as_ref().is_some_and(|it| it.is_held);
            if in_force.wait_for(is_held).await.is_err() {
                return std::future::pending().await;
            }
            if path.exists() {
                return;
            }
            tokio::time::sleep(CONFIRMATION_INTERVAL).await;
        }
    }
}
