//! What hosts have acknowledged to this process: the last change that each of them applied, and when.
//!
//! A host acknowledges every change, so acknowledgements are kept in memory and written in one transaction for all hosts, a
//! few times a second: a fleet must not cost the database a write for every host and change. Replicas learn of each
//! other's hosts from the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use pushkeys_feed::Cursor;
use tokio::sync::watch;

use super::host_names::HostId;

/// A connected host acknowledges something every five seconds at least; one that is silent for longer than this is
/// disconnected.
pub(super) const SILENCE_MAX: SignedDuration = SignedDuration::from_secs(15);

/// The last acknowledgement of each host; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Acknowledgements {
    last: Arc<Mutex<HashMap<HostId, Acknowledgement>>>,
    count: watch::Sender<u64>,
}

/// That a host has applied everything up to a change.
#[derive(Debug, Clone)]
pub(super) struct Acknowledgement {
    pub(super) applied: Cursor,
    pub(super) seen_at: Timestamp,
    is_written: bool,
}

impl Acknowledgements {
    /// Replaces the last acknowledgement of `host`.
    pub(super) fn record(&self, host: HostId, applied: Cursor) {
        let acknowledgement = Acknowledgement { applied, seen_at: Timestamp::now(), is_written: false };
        self.lock().insert(host, acknowledgement);
        self.count.send_modify(|count| *count += 1);
    }

    /// The last acknowledgement of each host.
    pub(super) fn all(&self) -> HashMap<HostId, Acknowledgement> {
        self.lock().clone()
    }

    /// Acknowledgements that were not taken before, to be written. Disconnected hosts are forgotten.
    pub(super) fn take_unwritten(&self) -> Vec<(HostId, Acknowledgement)> {
        let mut last = self.lock();
        let now = Timestamp::now();
        last.retain(|_, known| !known.is_written || now.duration_since(known.seen_at) <= SILENCE_MAX);
        let unwritten = last.iter_mut().filter(|(_, known)| !known.is_written);
        unwritten
            .map(|(host, known)| {
                known.is_written = true;
                (host.clone(), known.clone())
            })
            .collect()
    }

    /// Changes with each acknowledgement from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Acknowledgement>> {
        // Each entry is replaced whole.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
