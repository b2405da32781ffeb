//! The single reader of the changes table, shared by all streams.
//!
//! It wakes at each commit of this process, on PostgreSQL also at those of other processes, and polls for commits that it
//! is not notified of, such as those of this program's commands. Changes are encoded once, and every stream sends the same
//! bytes. A heartbeat means that the database was read a moment ago. While it cannot be read there are no heartbeats, and
//! hosts know that their keys may be out of date.
//!
//! If the database was restored to an older state while the service runs, all streams end: hosts reconnect with their
//! position and get a reset.

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

/// How long one read of the database may take: a dead connection would block the hub for minutes.
const READ_TIME_MAX: Duration = Duration::from_secs(15);
/// Changes that are read at once.
const CHANGES_PER_READ: u32 = 512;
/// Bytes at which a batch is full.
const BATCH_BYTES: usize = 64 * 1024;
/// Messages that are kept for the slowest stream before it has to read from the table: 4 MiB of batches.
const MESSAGES_MAX: usize = 64;
/// The least time between two log lines about the same failure.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// What is sent to all streams.
#[derive(Debug, Clone)]
pub(super) enum HubMessage {
    /// Changes without a gap.
    Changes(EncodedChanges),
    /// There is no change after `sequence`.
    Heartbeat { sequence: u64, bytes: Bytes },
}

/// Changes, encoded.
#[derive(Debug, Clone)]
pub(super) struct EncodedChanges {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: Bytes,
}

/// How streams subscribe to the reader.
#[derive(Clone)]
pub(crate) struct Hub {
    epoch: watch::Receiver<Epoch>,
    messages: broadcast::Sender<HubMessage>,
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
            reported_at: None,
        };
        tokio::spawn(reader.run(stopping));
        Ok(hub)
    }

    /// The epoch; marked as changed when a later one begins.
    pub(super) fn epoch(&self) -> watch::Receiver<Epoch> {
        let mut epoch = self.epoch.clone();
        epoch.mark_unchanged();
        epoch
    }

    /// The number of open streams of changes.
    pub(crate) fn streams(&self) -> u64 {
        self.messages.receiver_count() as u64
    }

    pub(super) fn messages(&self) -> broadcast::Receiver<HubMessage> {
        self.messages.subscribe()
    }

    /// The valid credentials of hosts; marked as changed when one is added or revoked later.
    pub(super) fn credentials(&self) -> watch::Receiver<Arc<HashSet<HostCredentialNumber>>> {
        let mut credentials = self.credentials.clone();
        credentials.mark_unchanged();
        credentials
    }
}

struct Reader {
    store: Store,
    messages: broadcast::Sender<HubMessage>,
    credentials: watch::Sender<Arc<HashSet<HostCredentialNumber>>>,
    epoch: watch::Sender<Epoch>,
    /// What was sent last.
    state: FeedState,
    heartbeat: Duration,
    reported_at: Option<Instant>,
}

impl Reader {
    async fn run(mut self, stopping: CancellationToken) {
        let mut commits = self.store.commits();
        // A heartbeat may be due before the next poll.
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
                Ok(Ok(())) => self.report_success(),
                Ok(Err(error)) => {
                    self.report_failure(&ErrorReport::of(&error).to_string());
                    continue;
                }
                Err(_) => {
                    self.report_failure("the database does not answer");
                    continue;
                }
            }
            if beaten_at.elapsed() >= self.heartbeat {
                beaten_at = Instant::now();
                self.beat();
            }
        }
    }

    /// Sends what changed since the last read.
    async fn read(&mut self) -> Result<(), StoreError> {
        let now = self.store.feed_state().await?;
        if now.hosts_version != self.state.hosts_version {
            self.credentials.send_replace(Arc::new(self.store.host_credentials().await?));
            self.state.hosts_version = now.hosts_version;
        }
        if now.head.epoch != self.state.head.epoch {
            tracing::warn!(from = %self.state.head, to = %now.head, "the database has a new epoch: `{}`", now.head);
            self.epoch.send_replace(now.head.epoch.clone());
            self.state = now;
            return Ok(());
        }
        if now.head.sequence < self.state.head.sequence {
            // The next read finds the new epoch, also if another replica began it.
            if self.store.begin_epoch_if_lost(&self.state.head).await? {
                tracing::error!(seen = %self.state.head, found = %now.head, "the database was restored to an older state: changes are lost");
            }
            return Ok(());
        }
        while self.state.head.sequence < now.head.sequence {
            match self.store.changes_after(self.state.head.sequence, CHANGES_PER_READ).await? {
                Changes::Next(changes) if !changes.is_empty() => self.publish(&changes),
                // Streams notice the gap by the next sequence number, and read from the table.
                Changes::Next(_) | Changes::Pruned => self.state.head.sequence = now.head.sequence,
            }
        }
        Ok(())
    }

    fn publish(&mut self, changes: &[Change]) {
        for batch in batches(&self.state.head.epoch, changes) {
            self.state.head.sequence = batch.last;
            // There may be no stream.
            let _ = self.messages.send(HubMessage::Changes(batch));
        }
    }

    fn beat(&self) {
        let sequence = self.state.head.sequence;
        let mut bytes = Vec::new();
        encode(&Event::Heartbeat { sequence }, None, &mut bytes);
        let _ = self.messages.send(HubMessage::Heartbeat { sequence, bytes: bytes.into() });
    }

    fn report_failure(&mut self, reason: &str) {
        if self.reported_at.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
            self.reported_at = Some(Instant::now());
            tracing::error!("no changes are sent to hosts: {reason}");
        }
    }

    fn report_success(&mut self) {
        if self.reported_at.take().is_some() {
            tracing::info!("changes are sent to hosts again");
        }
    }
}

/// `changes` in batches of about [`BATCH_BYTES`], and of one change at least.
fn batches(epoch: &Epoch, changes: &[Change]) -> Vec<EncodedChanges> {
    let mut batches = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let (now, later) = rest.split_at(count_fitting(rest).max(1));
        let last = now.last().unwrap_or(first).sequence;
        batches.push(EncodedChanges { first: first.sequence, last, bytes: encoded(epoch, now) });
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

/// The encoding of `changes`.
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
