//! The share of the service that one host has.
//!
//! The token of a host can be stolen. Then it must not keep other hosts from syncing, and not slow users down: a host has
//! one snapshot and few streams, of which a new one ends the oldest, since hosts reconnect before their old connections are
//! known to be dead; one report at a time, and an amount of work for reports.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::error::FeedError;
use crate::rate_limit::{Limiter, Rate, whole_seconds};
use crate::store::HostId;

/// Streams of one host: one is needed, and some may be connections that are not known to be dead.
const STREAMS_MAX: usize = 4;
/// Reports of one host that wait for each other.
const REPORTS_MAX: usize = 4;
/// How long a report waits for the one before it, and a snapshot for the end of the one that it replaces.
const TURN_TIME_MAX: Duration = Duration::from_secs(10);
/// Items of reports: several of the longest at once, and then so many that they take some hundredths of the time of the one
/// connection that writes.
const ITEMS: Rate =
    Rate { per_second: NonZeroU32::new(250).unwrap(), burst: NonZeroU32::new(8_192).unwrap() };

/// The shares of all hosts; clones count together.
#[derive(Clone)]
pub(super) struct Shares {
    /// Of hosts that have been here: as many as are registered.
    hosts: Arc<Mutex<HashMap<HostId, Arc<Share>>>>,
    items: Arc<Limiter<HostId>>,
}

struct Share {
    streams: Newest,
    snapshots: Newest,
    /// Held while a snapshot is read.
    snapshot: Arc<tokio::sync::Mutex<()>>,
    reports: Arc<Semaphore>,
    report: Arc<tokio::sync::Mutex<()>>,
    /// Until when no report is read, since the host has used up its items.
    waits_until: Mutex<Option<Instant>>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            streams: Newest::new(STREAMS_MAX),
            snapshots: Newest::new(1),
            snapshot: Arc::default(),
            reports: Arc::new(Semaphore::new(REPORTS_MAX)),
            report: Arc::default(),
            waits_until: Mutex::default(),
        }
    }
}

/// What runs for a host: another one ends the oldest.
struct Newest {
    max: usize,
    running: Mutex<VecDeque<CancellationToken>>,
}

impl Newest {
    fn new(max: usize) -> Self {
        Self { max, running: Mutex::default() }
    }

    /// Begins another one, which is to end when the token is cancelled.
    fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        let mut running = lock(&self.running);
        running.push_back(token.clone());
        if running.len() > self.max
            && let Some(oldest) = running.pop_front()
        {
            oldest.cancel();
        }
        token
    }
}

/// The right to read a snapshot, until it is dropped.
pub(super) struct SnapshotShare {
    /// Cancelled when the host begins another one.
    pub(super) replaced: CancellationToken,
    _alone: OwnedMutexGuard<()>,
}

/// The right to record a report, until it is dropped.
pub(super) struct ReportShare {
    _place: OwnedSemaphorePermit,
    _alone: OwnedMutexGuard<()>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { hosts: Arc::default(), items: Arc::new(Limiter::new(ITEMS)) }
    }
}

impl Shares {
    /// Begins a stream of `host`, which is to end when the token is cancelled.
    pub(super) fn stream(&self, host: &HostId) -> CancellationToken {
        self.of(host).streams.begin()
    }

    /// Begins a snapshot for `host`, once the one that it replaces has ended.
    pub(super) async fn snapshot(&self, host: &HostId) -> Result<SnapshotShare, FeedError> {
        let share = self.of(host);
        let replaced = share.snapshots.begin();
        let alone = tokio::select! {
            () = replaced.cancelled() => return Err(FeedError::TooManySnapshots),
            alone = timeout(TURN_TIME_MAX, Arc::clone(&share.snapshot).lock_owned()) => alone,
        };
        Ok(SnapshotShare { replaced, _alone: alone.map_err(|_| FeedError::TooManySnapshots)? })
    }

    /// Waits until no other report of `host` is read or recorded. A host that reports too much is refused before its report
    /// is read: reading it is work, too.
    pub(super) async fn report(&self, host: &HostId) -> Result<ReportShare, FeedError> {
        let share = self.of(host);
        let now = Instant::now();
        if let Some(until) = lock(&share.waits_until).filter(|until| *until > now) {
            return Err(FeedError::TooManyReports { wait_s: whole_seconds(until - now) });
        }
        let place = Arc::clone(&share.reports)
            .try_acquire_owned()
            .map_err(|_| FeedError::TooManyReports { wait_s: 1 })?;
        let alone = timeout(TURN_TIME_MAX, Arc::clone(&share.report).lock_owned()).await;
        Ok(ReportShare { _place: place, _alone: alone.map_err(|_| FeedError::TooManyReports { wait_s: 1 })? })
    }

    /// Counts the items of a report of `host`.
    pub(super) fn check_items(&self, host: &HostId, items: usize) -> Result<(), FeedError> {
        let Some(items) = u32::try_from(items).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        self.items.check_many(host, items).map_err(|wait| {
            *lock(&self.of(host).waits_until) = Instant::now().checked_add(wait);
            FeedError::TooManyReports { wait_s: whole_seconds(wait) }
        })
    }

    fn of(&self, host: &HostId) -> Arc<Share> {
        Arc::clone(lock(&self.hosts).entry(host.clone()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No one panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_and_the_oldest_end() {
        let newest = Newest::new(2);
        let tokens = [newest.begin(), newest.begin(), newest.begin()];
        assert_eq!(tokens.each_ref().map(CancellationToken::is_cancelled), [true, false, false]);
    }

    #[test]
    fn a_host_has_a_share_of_the_work_and_not_that_of_another() {
        let shares = Shares::default();
        let (one, other) = (HostId::for_tests("host_one"), HostId::for_tests("host_other"));
        let mut taken = 0;
        while shares.check_items(&one, 1_024).is_ok() {
            taken += 1_024;
        }
        assert_eq!(taken, ITEMS.burst.get());
        assert!(shares.check_items(&other, 1_024).is_ok());
        assert!(shares.check_items(&one, 0).is_ok());
    }

    #[tokio::test]
    async fn a_host_that_has_reported_too_much_is_refused_before_its_report_is_read() {
        let shares = Shares::default();
        let (one, other) = (HostId::for_tests("host_one"), HostId::for_tests("host_other"));
        assert!(shares.report(&one).await.is_ok());
        while shares.check_items(&one, 1_024).is_ok() {}
        assert!(matches!(shares.report(&one).await, Err(FeedError::TooManyReports { wait_s: 1..=6 })));
        assert!(shares.report(&other).await.is_ok());
    }

    #[tokio::test]
    async fn a_snapshot_ends_the_one_before_and_waits_for_its_end() {
        let shares = Shares::default();
        let host = HostId::for_tests("host_one");
        let first = shares.snapshot(&host).await.ok().unwrap();
        let second = tokio::spawn({
            let (shares, host) = (shares.clone(), host.clone());
            async move { shares.snapshot(&host).await.is_ok() }
        });
        first.replaced.cancelled().await;
        assert!(shares.snapshot(&HostId::for_tests("host_other")).await.is_ok());
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
    }
}
