//! The one reader of the changes table that all streams share.
//!
//! It wakes at a commit of this process at once, on PostgreSQL also at those of others, and now and then looks for
//! commits that it was not told of, such as those of this program's commands. What it reads it encodes once, and
//! every stream sends the same bytes. A heartbeat says that the database was read a moment ago: when it cannot be,
//! there is none, and hosts begin to count how old their keys are.
//!
//! When the database was put back to an older state under its feet, it ends all streams: hosts connect again, show
//! where they were, and are told to take a snapshot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pushkeys_feed::{Cursor, Epoch, Event, encode, encode_stored};
use pushkeys_keys::ErrorReport;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::{Change, Changes, FeedState, HostCredentialNumber, Store, StoreError};

/// How long one look at the database may take: a connection into the void would keep the hub for minutes.
const READ_TIME_MAX: Duration = Duration::from_secs(15);
/// Changes that are read at once.
const CHANGES_PER_READ: u32 = 512;
/// Bytes at which a batch is full.
const BATCH_BYTES: usize = 64 * 1024;
/// Messages that wait for the slowest stream before it has to read from the table: 4 MiB of batches.
const MESSAGES_MAX: usize = 64;
/// The least time between two lines in the log about a failure that lasts.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// What all streams are told.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// Changes without a hole between them.
    Changes(Batch),
    /// Nothing happened after `sequence`.
    Heartbeat { sequence: u64, bytes: Bytes },
}

/// Changes, encoded.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: Bytes,
}

/// The ear that streams have on the database.
#[derive(Clone)]
pub(crate) struct Hub {
    epoch: watch::Receiver<Epoch>,
    messages: broadcast::Sender<Message>,
    credentials: watch::Receiver<Arc<HashSet<HostCredentialNumber>>>,
}

impl Hub {
    /// Starts the hub's task, which ends when `stopping` is cancelled.
    pub(crate) async fn start(
        store: Store,
        heartbeat: Duration,
        stopping: CancellationToken,
    ) -> Result<Self, StoreError> {
        let state = store.feed_state().await?;
        let (credentials_sender, credentials) = watch::channel(Arc::new(store.host_credentials().await?));
        let messages = broadcast::Sender::new(MESSAGES_MAX);
        let (epoch_sender, epoch) = watch::channel(state.head.epoch.clone());
        let hub = Self { epoch, messages: messages.clone(), credentials };
        let reader = Reader {
            store,
            messages,
            credentials: credentials_sender,
            epoch: epoch_sender,
            state,
            heartbeat,
            complained_at: None,
        };
        tokio::spawn(reader.run(stopping));
        Ok(hub)
    }

    /// The life of the database; changes when another one begins from now on.
    pub(super) fn epoch(&self) -> watch::Receiver<Epoch> {
        let mut epoch = self.epoch.clone();
        epoch.mark_unchanged();
        epoch
    }

    /// How many streams follow the changes.
    pub(crate) fn streams(&self) -> u64 {
        self.messages.receiver_count() as u64
    }

    pub(super) fn messages(&self) -> broadcast::Receiver<Message> {
        self.messages.subscribe()
    }

    /// By what hosts may listen; changes when a credential is added or ends from now on.
    pub(super) fn credentials(&self) -> watch::Receiver<Arc<HashSet<HostCredentialNumber>>> {
        let mut credentials = self.credentials.clone();
        credentials.mark_unchanged();
        credentials
    }
}

struct Reader {
    store: Store,
    messages: broadcast::Sender<Message>,
    credentials: watch::Sender<Arc<HashSet<HostCredentialNumber>>>,
    epoch: watch::Sender<Epoch>,
    /// What was told so far.
    state: FeedState,
    heartbeat: Duration,
    complained_at: Option<Instant>,
}

impl Reader {
    async fn run(mut self, stopping: CancellationToken) {
        let mut commits = self.store.commits();
        // A heartbeat is due between two looks, too.
        let mut poll = interval(self.store.poll_interval().min(self.heartbeat));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beaten_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                _ = commits.changed() => {}
                _ = poll.tick() => {}
            }
            match timeout(READ_TIME_MAX, self.read()).await {
                Ok(Ok(())) => self.be_content(),
                Ok(Err(error)) => {
                    self.complain(&ErrorReport::of(&error).to_string());
                    continue;
                }
                Err(_) => {
                    self.complain("the database does not answer");
                    continue;
                }
            }
            if beaten_at.elapsed() >= self.heartbeat {
                beaten_at = Instant::now();
                self.beat();
            }
        }
    }

    /// Tells what happened since the last time.
    async fn read(&mut self) -> Result<(), StoreError> {
        let now = self.store.feed_state().await?;
        if now.hosts_version != self.state.hosts_version {
            self.credentials.send_replace(Arc::new(self.store.host_credentials().await?));
            self.state.hosts_version = now.hosts_version;
        }
        if now.head.epoch != self.state.head.epoch {
            tracing::warn!(from = %self.state.head, to = %now.head, "the database begins a new epoch: `{}`", now.head);
            self.epoch.send_replace(now.head.epoch.clone());
            self.state = now;
            return Ok(());
        }
        if now.head.sequence < self.state.head.sequence {
            // The next look finds the new epoch, whoever began it.
            if self.store.begin_epoch_if_lost(&self.state.head).await? {
                tracing::error!(seen = %self.state.head, found = %now.head, "the database was put back: changes are lost");
            }
            return Ok(());
        }
        while self.state.head.sequence < now.head.sequence {
            match self.store.changes_after(self.state.head.sequence, CHANGES_PER_READ).await? {
                Changes::Next(changes) if !changes.is_empty() => self.tell(&changes),
                // Streams notice the gap by the next number, and find out what it means for them.
                Changes::Next(_) | Changes::Pruned => self.state.head.sequence = now.head.sequence,
            }
        }
        Ok(())
    }

    fn tell(&mut self, changes: &[Change]) {
        for batch in batches(&self.state.head.epoch, changes) {
            self.state.head.sequence = batch.last;
            // Nobody need be listening.
            let _ = self.messages.send(Message::Changes(batch));
        }
    }

    fn beat(&self) {
        let sequence = self.state.head.sequence;
        let mut bytes = Vec::new();
        encode(&Event::Heartbeat { sequence }, None, &mut bytes);
        let _ = self.messages.send(Message::Heartbeat { sequence, bytes: bytes.into() });
    }

    fn complain(&mut self, reason: &str) {
        if self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained_at = Some(Instant::now());
            tracing::error!("hosts are told nothing: {reason}");
        }
    }

    fn be_content(&mut self) {
        if self.complained_at.take().is_some() {
            tracing::info!("hosts are told again what changes");
        }
    }
}

/// `changes` in batches of about [`BATCH_BYTES`], and of one change at least.
fn batches(epoch: &Epoch, changes: &[Change]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let (now, later) = rest.split_at(count_fitting(rest).max(1));
        let last = now.last().unwrap_or(first).sequence;
        batches.push(Batch { first: first.sequence, last, bytes: encoded(epoch, now) });
        rest = later;
    }
    batches
}

fn count_fitting(changes: &[Change]) -> usize {
    let sizes = changes.iter().scan(0, |sum, change| {
        *sum += change.data.len();
        Some(*sum)
    });
    sizes.take_while(|&size| size <= BATCH_BYTES).count()
}

/// `changes` as they are sent.
pub(super) fn encoded(epoch: &Epoch, changes: &[Change]) -> Bytes {
    let mut bytes = Vec::new();
    for change in changes {
        let id = Cursor { epoch: epoch.clone(), sequence: change.sequence };
        encode_stored(change.event, change.data.as_bytes(), Some(&id), &mut bytes);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use pushkeys_feed::EventKind;

    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let epoch: Epoch = "e1".parse().unwrap();
        let check = |sizes: &[usize], expected: &[(u64, u64)]| {
            let changes: Vec<Change> = (1..)
                .zip(sizes)
                .map(|(sequence, &size)| Change { sequence, event: EventKind::Put, data: "x".repeat(size) })
                .collect();
            let batches = batches(&epoch, &changes);
            let ranges: Vec<_> = batches.iter().map(|batch| (batch.first, batch.last)).collect();
            assert_eq!(ranges, expected);
            let together: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
            assert_eq!(together, encoded(&epoch, &changes));
        };
        check(&[], &[]);
        check(&[10, 10, 10], &[(1, 3)]);
        check(&[BATCH_BYTES + 1, 10, BATCH_BYTES, 10], &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}
