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
use pushkeys_feed::{Chain, Cursor, Epoch, Event, EventId, KeySum, Position, encode, encode_stored};
use pushkeys_keys::ErrorReport;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::with::With;
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
    Heartbeat { sequence: u64, bytes: Encoded },
}

/// Changes, encoded.
#[derive(Debug, Clone)]
pub(super) struct EncodedChanges {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The chain values before the first and after the last.
    pub(super) before: Chain,
    pub(super) after: Chain,
    pub(super) bytes: Encoded,
}

/// The bytes for hosts that know chains, and for those that do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    chained: Bytes,
    plain: Bytes,
}

impl Encoded {
    pub(super) fn bytes(self, with: With) -> Bytes {
        if with.chain { self.chained } else { self.plain }
    }
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
        let (epoch_sender, epoch) = watch::channel(state.head.cursor.epoch.clone());
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
        // Read before the state: what was committed since is not missing in it.
        let seen = self.store.last_seen().unwrap_or_else(|| self.state.head.clone());
        let now = self.store.feed_state().await?;
        if now.hosts_version != self.state.hosts_version {
            self.credentials.send_replace(Arc::new(self.store.host_credentials().await?));
            self.state.hosts_version = now.hosts_version;
        }
        if lacks(&now.head, &seen) || lacks(&now.head, &self.state.head) {
            return self.begin_epoch_if_lost(&seen).await;
        }
        if now.head.cursor.epoch != self.state.head.cursor.epoch {
            tracing::warn!(from = %self.state.head.id(), to = %now.head.id(), "the database has a new epoch: `{}`", now.head.id());
            self.epoch.send_replace(now.head.cursor.epoch.clone());
            self.state = now;
            self.store.saw(&self.state.head);
            return Ok(());
        }
        while self.state.head.cursor.sequence < now.head.cursor.sequence {
            match self.store.changes_after(self.state.head.cursor.sequence, CHANGES_PER_READ).await? {
                Changes::Next(mut changes) if !changes.is_empty() => {
                    // The digest is that of `now`.
                    changes.retain(|change| change.sequence <= now.head.cursor.sequence);
                    let has_other = |change: &Change| {
                        change.sequence == seen.cursor.sequence && Some(change.chain) != seen.chain
                    };
                    if !follows(&self.state.head, &changes) || changes.iter().any(has_other) {
                        return self.begin_epoch_if_lost(&seen).await;
                    }
                    self.publish(&changes);
                }
                // Streams notice the gap by the next sequence number, and read from the table.
                Changes::Next(_) | Changes::Pruned => self.state.head = now.head.clone(),
            }
        }
        self.state = now;
        self.store.saw(&self.state.head);
        Ok(())
    }

    async fn begin_epoch_if_lost(&self, seen: &Position) -> Result<(), StoreError> {
        // The next read finds the new epoch, also if another replica began it.
        if !self.store.begin_epoch_if_lost(seen).await? {
            self.store.begin_epoch_if_lost(&self.state.head).await?;
        }
        Ok(())
    }

    fn publish(&mut self, changes: &[Change]) {
        for batch in batches(&self.state.head, changes) {
            self.state.head.cursor.sequence = batch.last;
            self.state.head.chain = Some(batch.after);
            // There may be no stream.
            let _ = self.messages.send(HubMessage::Changes(batch));
        }
    }

    fn beat(&self) {
        let FeedState { head, sum, .. } = &self.state;
        let sequence = head.cursor.sequence;
        let _ = self.messages.send(HubMessage::Heartbeat { sequence, bytes: heartbeat(sequence, *sum) });
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

/// Whether a database with the end `head` certainly lacks `position`: its epoch is older, its number is lower, or its chain value is
/// another one at the same number.
fn lacks(head: &Position, position: &Position) -> bool {
    let (found, seen) = (&head.cursor, &position.cursor);
    found.epoch < seen.epoch
        || found.epoch == seen.epoch && found.sequence < seen.sequence
        || found == seen && head.chain != position.chain
}

/// Whether `changes` are the next ones after `head`, by the number alone where its chain value is unknown.
pub(super) fn follows(head: &Position, changes: &[Change]) -> bool {
    let mut at = head.clone();
    changes.iter().all(|change| {
        let chain = at.follow(change.event.as_str().as_bytes(), change.data.as_bytes());
        at.chain = Some(change.chain);
        at.cursor.sequence == change.sequence && chain.is_none_or(|chain| chain == change.chain)
    })
}

/// `changes` after `head` in batches of about [`BATCH_BYTES`], and of one change at least.
fn batches(head: &Position, changes: &[Change]) -> Vec<EncodedChanges> {
    let epoch = &head.cursor.epoch;
    let mut batches = Vec::new();
    let mut before = head.chain.unwrap_or_else(|| Chain::start(epoch));
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let (now, later) = rest.split_at(count_fitting(rest).max(1));
        let last = now.last().unwrap_or(first);
        let bytes = Encoded {
            chained: encoded(epoch, now, With { chain: true }),
            plain: encoded(epoch, now, With::default()),
        };
        let (first, after) = (first.sequence, last.chain);
        batches.push(EncodedChanges { first, last: last.sequence, before, after, bytes });
        before = after;
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

fn heartbeat(sequence: u64, sum: KeySum) -> Encoded {
    let bytes = |event: &Event| {
        let mut bytes = Vec::new();
        encode(event, None, &mut bytes);
        bytes.into()
    };
    Encoded {
        chained: bytes(&Event::Checkpoint { sequence, sum }),
        plain: bytes(&Event::Heartbeat { sequence }),
    }
}

/// The encoding of `changes`.
pub(super) fn encoded(epoch: &Epoch, changes: &[Change], with: With) -> Bytes {
    let mut bytes = Vec::new();
    for change in changes {
        let cursor = Cursor { epoch: epoch.clone(), sequence: change.sequence };
        let id = EventId { cursor, chain: with.chain.then(|| change.chain.prefix()) };
        encode_stored(change.event, change.data.as_bytes(), Some(&id), &mut bytes);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use pushkeys_feed::EventKind;

    use super::*;

    /// Changes after `head` with data of these sizes.
    fn changes(head: &Position, sizes: &[usize]) -> Vec<Change> {
        let mut at = head.clone();
        let change = |&size: &usize| {
            let data = "x".repeat(size);
            let chain = at.follow(b"put", data.as_bytes()).unwrap();
            Change { sequence: at.cursor.sequence, event: EventKind::Put, data, chain }
        };
        sizes.iter().map(change).collect()
    }

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let head = Position::start("e1-0".parse().unwrap());
        let check = |sizes: &[usize], expected: &[(u64, u64)]| {
            let changes = changes(&head, sizes);
            let batches = batches(&head, &changes);
            let ranges: Vec<_> = batches.iter().map(|batch| (batch.first, batch.last)).collect();
            assert_eq!(ranges, expected);
            for with in [With { chain: true }, With::default()] {
                let together: Vec<u8> =
                    batches.iter().flat_map(|batch| batch.bytes.clone().bytes(with).to_vec()).collect();
                assert_eq!(together, encoded(&head.cursor.epoch, &changes, with));
            }
            let mut chain = head.chain.unwrap();
            for batch in &batches {
                assert_eq!(batch.before, chain);
                chain = batch.after;
            }
        };
        check(&[], &[]);
        check(&[10, 10, 10], &[(1, 3)]);
        check(&[BATCH_BYTES + 1, 10, BATCH_BYTES, 10], &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    }

    #[test]
    fn a_position_is_missing_behind_the_end_and_in_another_history() {
        let position = |text: &str| Position::start(text.parse().unwrap());
        let seen = position("e2-7");
        for (head, expected) in
            [("e2-7", false), ("e2-8", false), ("e3-1", false), ("e2-6", true), ("e1-9", true)]
        {
            assert_eq!(lacks(&position(head), &seen), expected, "{head}");
        }
        let other = Position { chain: position("e3-7").chain, ..seen.clone() };
        assert!(lacks(&other, &seen));
    }

    #[test]
    fn only_changes_with_the_right_number_and_chain_follow() {
        let head = Position::start("e1-7".parse().unwrap());
        let good = changes(&head, &[10, 20, 30]);
        assert!(follows(&head, &good) && follows(&head, &[]));
        assert!(!follows(&head, &good[1..]));
        let mut other = good.clone();
        other[1].data.push('y');
        assert!(!follows(&head, &other));
        assert!(!follows(&Position::start("e2-7".parse().unwrap()), &good));
    }
}
