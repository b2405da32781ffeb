//! What this process remembers of the database; all clones of a store share it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use pushkeys_feed::{Cursor, Position};
use tokio::sync;
use tokio::time::Instant;

/// The last position that this process has seen or written; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastSeen(Arc<Mutex<Option<Position>>>);

impl LastSeen {
    pub(super) fn get(&self) -> Option<Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers `position` if it is later than what is remembered.
    pub(super) fn advance(&self, position: &Position) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let order = |position: &Position| (position.cursor.epoch.clone(), position.cursor.sequence);
        if last.as_ref().is_none_or(|last| order(last) < order(position)) {
            *last = Some(position.clone());
        }
    }
}

/// What was found out about the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// Whether a read returned in time, on a connection as requests use.
    pub(crate) reads: bool,
    /// Whether a write was committed in time.
    pub(crate) writes: bool,
}

/// The last result, and when it was found out. Those who ask at once wait for one result.
#[derive(Clone, Default)]
pub(super) struct LastHealth(pub(super) Arc<sync::Mutex<Option<(Instant, Health)>>>);

impl Health {
    pub(crate) fn is_good(self) -> bool {
        self.reads && self.writes
    }
}

/// What all hosts have acknowledged, as requests that wait share it; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct HostView(pub(super) Arc<sync::Mutex<Option<SeenHosts>>>);

#[derive(Debug, Clone)]
pub(super) struct SeenHosts {
    pub(super) hosts: Arc<[HostAcknowledgement]>,
    /// Until when they are shared.
    pub(super) until: Instant,
}

/// What a host acknowledged last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostAcknowledgement {
    /// The name of the host.
    pub(crate) host: String,
    /// The last change that it has applied, if it ever acknowledged one.
    pub(crate) applied: Option<Cursor>,
    /// When it acknowledged it.
    pub(crate) seen_at: Option<Timestamp>,
}
