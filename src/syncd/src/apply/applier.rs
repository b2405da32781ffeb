//! The handle of the one thread per source that owns the cache's writer. The changes that wait for it become one batch, so
//! an idle host applies a change at once and a busy one rewrites each shard once for many.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pushkeys_cache::{WriteError, Writer};
use pushkeys_feed::Position;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::error::ApplyError;
use super::new_state::{NewState, PARTS_MAX};
use super::queue::{Batch, CHANGES_KIB_MAX, QUEUE_MAX, Told, Work, room_kib};
use super::source_cache::SourceCache;
use super::worker::Worker;

/// The first writer makes the folder of the cache, and two of them must not both be the first.
static OPENING: Mutex<()> = Mutex::new(());

/// A running applier. When it is dropped, the applier finishes what waits, and stops.
pub(crate) struct Applier {
    work: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
    thread: JoinHandle<Result<(), WriteError>>,
    /// Where in its source's history the cache stood when the writer was opened; `None` when a full sync is due.
    pub(crate) resume_position: Option<String>,
}

impl Applier {
    /// Opens the writer once the applier before it has stopped, and starts its thread.
    pub(crate) async fn open(cache: &Arc<SourceCache>) -> Result<Self, ApplyError> {
        let writer_lock = cache.lock_writer().await;
        let worker = {
            let cache = Arc::clone(cache);
            spawn_blocking(move || open_worker(cache)).await.map_err(|_| ApplyError::Stopped)??
        };
        let resume_position = worker.resume_position();
        worker.publish_head();
        let (work, queue) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("apply-{}", cache.name))
            .spawn(move || {
                let result = worker.run(queue);
                drop(writer_lock);
                result
            })
            .map_err(|source| WriteError::Io {
                what: "start the writer of",
                path: cache.folder.clone(),
                source,
            })?;
        Ok(Self { work, room: Arc::new(Semaphore::new(CHANGES_KIB_MAX)), thread, resume_position })
    }

    /// Hands over what the source has told, with its cursor after the last of it. Waits while too many wait.
    pub(crate) async fn apply(&self, told: Vec<Told>, cursor: Position) -> Result<(), ApplyError> {
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(room_kib(&told)) => room.map_err(|_| ApplyError::Stopped)?,
            () = self.stopped() => return Err(ApplyError::Stopped),
        };
        self.send(Work::Changes(Batch { told, cursor, room })).await
    }

    /// Notes that the source was heard, and has nothing that the cache lacks.
    pub(crate) async fn contact(&self) -> Result<(), ApplyError> {
        self.send(Work::Contact).await
    }

    /// Begins to replace everything that is in force.
    pub(crate) async fn replace(&self) -> Result<NewState, ApplyError> {
        let (parts, receiver) = mpsc::channel(PARTS_MAX);
        let (reply, outcome) = oneshot::channel();
        self.send(Work::Replace { parts: receiver, reply }).await?;
        Ok(NewState { parts, outcome })
    }

    /// Waits until the applier has stopped because of an error.
    pub(crate) async fn stopped(&self) {
        self.work.closed().await;
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.work.is_closed()
    }

    /// Lets the applier finish what waits, and returns the error by which it stopped if there was one.
    pub(crate) async fn join(self) -> Result<(), ApplyError> {
        drop(self.work);
        match spawn_blocking(move || self.thread.join()).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) | Err(_) => Err(ApplyError::Stopped),
        }
    }

    async fn send(&self, work: Work) -> Result<(), ApplyError> {
        self.work.send(work).await.map_err(|_| ApplyError::Stopped)
    }
}

fn open_worker(cache: Arc<SourceCache>) -> Result<Worker, WriteError> {
    let writer = {
        let _turn = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        Writer::open(&cache.folder, &cache.name)?
    };
    if let Some(fault) = writer.fault() {
        let fault = pushkeys_keys::ErrorReport::of(fault);
        let name = &cache.name;
        tracing::error!(source = %name, "`{name}`: what is in force cannot be read, so everything is synced again: {fault}");
    }
    let mut worker = Worker::new(cache, writer);
    worker.renew_validity()?;
    Ok(worker)
}
