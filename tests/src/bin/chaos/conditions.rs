//! The active faults, and the deviations that they excuse.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Loss;

/// The time limit for recovery after most faults.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);
/// The time limit after a fault that used up the snapshots of a host: at most four a minute, and then one a minute.
pub(crate) const SNAPSHOT_RECOVERY: Duration = Duration::from_secs(75);
/// Without faults, a change reaches every host within this time, on a busy machine.
pub(crate) const CALM: Duration = Duration::from_secs(15);
/// `max_stale` of the hosts: after this time without its service a host refuses.
pub(crate) const MAX_STALE: Duration = Duration::from_mins(1);
/// HEAD has whole seconds and is updated once a second.
const STALE_SLACK: Duration = Duration::from_secs(5);

/// The hosts that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// No host.
    None,
    /// The chosen host.
    Victim,
    /// All hosts.
    All,
}

/// How the users' changes are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Normally.
    Served,
    /// Slowly.
    Slow,
    /// They may fail.
    MayFail,
}

/// The deviations that are excused from the beginning of a fault until `recovery` after its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excuses {
    /// How changes are served.
    pub(crate) writes: Writes,
    /// The hosts that may be behind.
    pub(crate) behind: Hosts,
    /// Whether lookups on those hosts may fail.
    pub(crate) silent: bool,
    /// Whether the victim may have lost the share of the foreign service's keys that `shrink_max` allows.
    pub(crate) shrunk: bool,
    /// The time limit for recovery.
    pub(crate) recovery: Duration,
}

impl Excuses {
    /// No deviations.
    pub(crate) const NONE: Self = Self {
        writes: Writes::Served,
        behind: Hosts::None,
        silent: false,
        shrunk: false,
        recovery: RECOVERY,
    };
    /// The service does not work, or its database is unavailable.
    pub(crate) const SERVICE: Self = Self { writes: Writes::MayFail, behind: Hosts::All, ..Self::NONE };
    /// A host is disconnected, or its daemon does not work.
    pub(crate) const HOST: Self = Self { behind: Hosts::Victim, ..Self::NONE };
}

/// An active or past fault.
#[derive(Debug, Clone)]
struct FaultPeriod {
    number: u64,
    excuses: Excuses,
    victim: usize,
    began: Instant,
    ended: Option<Instant>,
}

impl FaultPeriod {
    fn is_about(&self, host: usize) -> bool {
        match self.excuses.behind {
            Hosts::None => false,
            Hosts::Victim => self.victim == host,
            Hosts::All => true,
        }
    }

    fn is_on(&self) -> bool {
        self.ended.is_none_or(|ended| ended.elapsed() < self.excuses.recovery)
    }
}

/// All faults with possible effects.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    begun: u64,
    faults: Vec<FaultPeriod>,
    /// The beginning of a loss of commits, and finished losses.
    losing_since: Option<Instant>,
    losses: Vec<Loss>,
    /// The moment at which all deviations were last resolved.
    forgiven_at: Option<Instant>,
}

impl Conditions {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a fault. Returns its number.
    pub(crate) fn begin(&self, excuses: Excuses, victim: usize) -> u64 {
        let mut inner = self.inner();
        inner.begun += 1;
        let number = inner.begun;
        inner.faults.push(FaultPeriod { number, excuses, victim, began: Instant::now(), ended: None });
        number
    }

    /// Ends the fault `number`.
    pub(crate) fn end(&self, number: u64) {
        let mut inner = self.inner();
        if let Some(period) = inner.faults.iter_mut().find(|period| period.number == number) {
            period.ended = Some(Instant::now());
        }
    }

    /// From now on, commits may be lost.
    pub(crate) fn loses(&self) {
        self.inner().losing_since = Some(Instant::now());
    }

    /// From now on, commits are safe. Those since [`Conditions::loses`] may be lost.
    pub(crate) fn has_lost(&self) {
        let mut inner = self.inner();
        if let Some(from) = inner.losing_since.take() {
            inner.losses.push(Loss { from, until: Instant::now() });
        }
    }

    /// The possible losses since the database was last read.
    pub(crate) fn losses(&self) -> Vec<Loss> {
        self.inner().losses.clone()
    }

    /// Whether confirmed changes may be lost, until the database is read.
    pub(crate) fn is_lossy(&self) -> bool {
        let inner = self.inner();
        inner.losing_since.is_some() || !inner.losses.is_empty()
    }

    /// All deviations are resolved: faults that have ended excuse nothing any more.
    pub(crate) fn is_right(&self) {
        let mut inner = self.inner();
        inner.faults.retain(|period| period.ended.is_none());
        inner.losses.clear();
        inner.forgiven_at = Some(Instant::now());
    }

    /// The host's answers must have been right at some moment since then.
    pub(crate) fn horizon(&self, host: usize) -> Instant {
        let inner = self.inner();
        let about = inner.faults.iter().filter(|period| period.is_on() && period.is_about(host));
        let first = about.map(|period| period.began).min().unwrap_or_else(Instant::now);
        first.checked_sub(CALM).unwrap_or(first)
    }

    /// Removals before this moment are in force even on a disconnected host.
    pub(crate) fn stale_horizon() -> Instant {
        let now = Instant::now();
        now.checked_sub(MAX_STALE + STALE_SLACK).unwrap_or(now)
    }

    /// Whether lookups of the host may fail.
    pub(crate) fn may_be_silent(&self, host: usize) -> bool {
        self.inner().faults.iter().any(|period| {
            let is_about = period.is_on() && period.is_about(host);
            // A host that is disconnected for this time refuses.
            is_about
                && (period.excuses.silent || period.began.elapsed() > MAX_STALE.saturating_sub(STALE_SLACK))
        })
    }

    /// Whether the foreign service may have removed some keys from the host.
    pub(crate) fn may_be_shrunk(&self, host: usize) -> bool {
        self.inner()
            .faults
            .iter()
            .any(|period| period.is_on() && period.victim == host && period.excuses.shrunk)
    }

    /// Whether a request that was sent at `sent` may have failed.
    pub(crate) fn excuses_write(&self, sent: Instant) -> bool {
        let inner = self.inner();
        inner.faults.iter().any(|period| {
            period.excuses.writes == Writes::MayFail
                && period.ended.is_none_or(|ended| sent <= ended + period.excuses.recovery)
        }) || inner.forgiven_at.is_some_and(|at| sent < at)
    }
}
