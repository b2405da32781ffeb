//! What waits for the applier of a source.

use pushkeys_cache::{Change, Entry};
use pushkeys_feed::Position;
use pushkeys_keys::Fingerprint;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::new_state::{Outcome, StatePart};
use crate::history::HistoryError;

/// How many pieces of work wait before a source has to, and how much memory the changes among them and in the
/// batch at hand may take.
pub(super) const QUEUE_MAX: usize = 4096;
pub(super) const CHANGES_KIB_MAX: usize = 96 * 1024;
/// How much of that becomes one batch: half, so that as much gathers while one is applied. A batch of this size touches
/// every shard of a million keys, which takes a second whatever the number of its changes.
pub(super) const BATCH_KIB_MAX: usize = CHANGES_KIB_MAX / 2;

/// What an entry's logins, ids and names take besides its line.
const ENTRY_HEAP_BYTES: usize = 256;

/// What a source wants to have done.
pub(super) enum Work {
    /// Apply these changes.
    Changes(Batch),
    /// Note that the source was heard, and has nothing that the cache lacks.
    Contact,
    /// Put a whole new state in place of what is in force.
    Replace { parts: mpsc::Receiver<StatePart>, reply: Reply },
}

/// Where a new state's outcome is waited for.
pub(super) type Reply = oneshot::Sender<Result<Outcome, HistoryError>>;

/// What a source says of one key.
#[derive(Debug)]
pub(crate) enum Told {
    /// It is registered, or its registration has changed.
    Put(Entry),
    /// It is gone.
    Removed(Fingerprint),
    /// It is gone, since it may be in the wrong hands.
    Compromised(Fingerprint),
    /// It is registered in a way that cannot be used.
    Unusable(Fingerprint),
}

impl Told {
    pub(super) fn into_change(self) -> Change {
        match self {
            Self::Put(entry) => Change::Put(entry),
            Self::Removed(fingerprint) | Self::Compromised(fingerprint) | Self::Unusable(fingerprint) => {
                Change::Remove(fingerprint)
            }
        }
    }
}

/// What was told, in its order.
pub(super) struct Batch {
    pub(super) told: Vec<Told>,
    /// Where in the source's history the last of them is.
    pub(super) cursor: Position,
    /// The memory that they count for until they are applied.
    pub(super) room: OwnedSemaphorePermit,
}

impl Batch {
    /// Adds the changes that wait behind these, up to the bound of a batch. Returns work of another kind, which comes next.
    pub(super) fn gather(mut self, queue: &mut mpsc::Receiver<Work>) -> (Self, Option<Work>) {
        while self.room.num_permits() < BATCH_KIB_MAX {
            match queue.try_recv() {
                Ok(Work::Changes(more)) => {
                    self.told.extend(more.told);
                    self.cursor = more.cursor;
                    self.room.merge(more.room);
                }
                // Changes are a contact too.
                Ok(Work::Contact) => {}
                Ok(other) => return (self, Some(other)),
                Err(_) => break,
            }
        }
        (self, None)
    }
}

/// What `told` counts for, in KiB: its memory, small allocations included, but no more than a batch may have.
pub(super) fn room_kib(told: &[Told]) -> u32 {
    let bytes: usize = told.iter().map(weight).sum();
    u32::try_from((bytes / 1024 + 1).min(BATCH_KIB_MAX)).unwrap_or(u32::MAX)
}

fn weight(told: &Told) -> usize {
    let in_heap = match told {
        Told::Put(entry) => ENTRY_HEAP_BYTES + entry.line.as_str().len(),
        Told::Removed(_) | Told::Compromised(_) | Told::Unusable(_) => 0,
    };
    2 * size_of::<Told>() + in_heap
}
