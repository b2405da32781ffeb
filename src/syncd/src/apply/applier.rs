//! The one thread per source that owns the cache's writer. What waits for it becomes one batch, so an idle host
//! applies a change at once and a busy one rewrites each shard once for many.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pushkeys_cache::{Change, Difference, Held, WriteError, Writer};
use pushkeys_keys::ErrorReport;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::apply::worker::Worker;
use crate::source::error::SyncError;
use crate::source::{Context, Place};
use crate::validate::Judged;

/// How many pieces of work wait before a source has to, and how much memory the changes among them and in the
/// batch at hand may take.
const QUEUE_MAX: usize = 4096;
const CHANGES_KIB_MAX: usize = 96 * 1024;
/// How much of that becomes one batch: half, so that as much gathers while one is applied. A batch of this size touches
/// every shard of a million keys, which takes a second however many changes it brings.
pub(crate) const BATCH_KIB_MAX: usize = CHANGES_KIB_MAX / 2;

/// What an entry's logins, ids and names take besides its line.
const ENTRY_HEAP_BYTES: usize = 256;

/// The first writer makes the folder of the cache, and two of them must not both be the first.
static OPENING: Mutex<()> = Mutex::new(());

/// What a source wants to have done.
pub(crate) enum Work {
    /// Changes in their order.
    Changes(Changes),
    /// The source was heard, and has nothing that the cache lacks.
    Contact,
    /// A whole new state, in ascending order of the fingerprints' bytes.
    Replace { pieces: mpsc::Receiver<Piece>, reply: oneshot::Sender<Outcome> },
}

/// Changes, and the memory they count for until they are applied.
pub(crate) struct Changes {
    pub(crate) numbered: Vec<Numbered>,
    pub(crate) room: OwnedSemaphorePermit,
}

/// A change and the place in the source's history after it.
pub(crate) struct Numbered {
    pub(crate) change: Change,
    pub(crate) cursor: Option<String>,
}

/// A part of a new state.
pub(crate) enum Piece {
    /// Entries that are being judged elsewhere.
    Entries(oneshot::Receiver<Judged>),
    /// Everything came, and was whole. Without this the new state never happened.
    End { cursor: Option<String> },
}

/// What became of a new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in force.
    Taken(Difference),
    /// It waits for a person.
    Held(Held),
}

/// The handle of a running applier. Dropping it lets the applier finish what waits, and stop.
pub(crate) struct Applier {
    work: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
    thread: JoinHandle<Result<(), WriteError>>,
    /// Where the cache stood when the writer was opened.
    pub(crate) place: Place,
}

impl Applier {
    /// Takes the writer's place for the source, which blocks, and starts its thread.
    pub(crate) fn open(context: &Arc<Context>) -> Result<Self, SyncError> {
        let seat = Arc::clone(&context.seat).blocking_lock_owned();
        let writer = {
            let _turn = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
            Writer::open(&context.cache, &context.settings.name)?
        };
        if let Some(fault) = writer.fault() {
            let fault = ErrorReport::of(fault);
            let name = &context.settings.name;
            tracing::error!(source = %name, "`{name}`: what is in force cannot be read, and is synced anew: {fault}");
        }
        let worker = Worker::new(Arc::clone(context), writer);
        let place = worker.place();
        worker.publish_head();
        let (work, queue) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("apply-{}", context.settings.name))
            .spawn(move || {
                let result = worker.run(queue);
                drop(seat);
                result
            })
            .map_err(|source| WriteError::Io {
                what: "start the writer of",
                path: context.cache.clone(),
                source,
            })?;
        let room = Arc::new(Semaphore::new(CHANGES_KIB_MAX));
        Ok(Self { work, room, thread, place })
    }

    /// Hands over work; waits while too much of it waits.
    pub(crate) async fn send(&self, work: Work) -> Result<(), SyncError> {
        self.work.send(work).await.map_err(|_| SyncError::Stopped)
    }

    /// Hands over changes; waits while too much memory is taken by those before.
    pub(crate) async fn change(&self, numbered: Vec<Numbered>) -> Result<(), SyncError> {
        let bytes: usize = numbered.iter().map(weight).sum();
        let kib = u32::try_from((bytes / 1024 + 1).min(BATCH_KIB_MAX)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(kib) => room.map_err(|_| SyncError::Stopped)?,
            () = self.stopped() => return Err(SyncError::Stopped),
        };
        self.send(Work::Changes(Changes { numbered, room })).await
    }

    /// Resolves when the applier has stopped because of an error.
    pub(crate) async fn stopped(&self) {
        self.work.closed().await;
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.work.is_closed()
    }

    /// Lets the applier finish what waits, and says why it stopped if that was an error. Blocks.
    pub(crate) fn join(self) -> Result<(), SyncError> {
        drop(self.work);
        match self.thread.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(SyncError::Stopped),
        }
    }
}

/// What a change takes of memory, its small allocations included.
fn weight(numbered: &Numbered) -> usize {
    let in_heap = match &numbered.change {
        Change::Put(entry) => ENTRY_HEAP_BYTES + entry.line.as_str().len(),
        Change::Remove(_) => 0,
    };
    2 * size_of::<Numbered>() + in_heap
}
