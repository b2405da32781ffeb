//! What is going on, and so what may be off for the moment.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Loss;

/// After a fault has ended, all is right again within this time.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);
/// Where nothing is wrong, a change is on every host within this time, on a machine that does much else.
pub(crate) const CALM: Duration = Duration::from_secs(15);
/// `max_stale` of the hosts: after that long without its service a host refuses.
pub(crate) const MAX_STALE: Duration = Duration::from_mins(1);
/// HEAD counts whole seconds and is touched once a second.
const STALE_SLACK: Duration = Duration::from_secs(5);

/// Which hosts a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// None of them.
    Nobody,
    /// The one that was drawn.
    Victim,
    /// All of them.
    Everybody,
}

/// How users are served who change their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// As ever.
    Served,
    /// Each change takes its time.
    Slow,
    /// Or they are not.
    MayFail,
}

/// What may be off from the beginning of a fault until [`RECOVERY`] after its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excuses {
    /// How users are served.
    pub(crate) writes: Writes,
    /// These hosts may not know what changed since.
    pub(crate) behind: Hosts,
    /// Lookups on those hosts may refuse to answer.
    pub(crate) silent: bool,
    /// The victim may have lost as many keys of the foreign service as `shrink_max` lets a source remove unasked.
    pub(crate) shrunk: bool,
}

impl Excuses {
    /// All goes on as ever.
    pub(crate) const NONE: Self =
        Self { writes: Writes::Served, behind: Hosts::Nobody, silent: false, shrunk: false };
    /// The service does not serve, or its database is away.
    pub(crate) const SERVICE: Self = Self { writes: Writes::MayFail, behind: Hosts::Everybody, ..Self::NONE };
    /// A host is cut off, or its daemon does not work.
    pub(crate) const HOST: Self = Self { behind: Hosts::Victim, ..Self::NONE };
}

/// One fault that goes on or went on.
#[derive(Debug, Clone)]
struct Spell {
    number: u64,
    excuses: Excuses,
    victim: usize,
    began: Instant,
    ended: Option<Instant>,
}

impl Spell {
    fn is_about(&self, host: usize) -> bool {
        match self.excuses.behind {
            Hosts::Nobody => false,
            Hosts::Victim => self.victim == host,
            Hosts::Everybody => true,
        }
    }

    fn is_on(&self) -> bool {
        self.ended.is_none_or(|ended| ended.elapsed() < RECOVERY)
    }
}

/// All faults whose effects may be seen.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    begun: u64,
    spells: Vec<Spell>,
    /// A database that is losing commits, and those that were lost.
    losing_since: Option<Instant>,
    losses: Vec<Loss>,
    /// When all that had been off was last excused.
    forgiven_at: Option<Instant>,
}

impl Conditions {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault begins. Gives its number.
    pub(crate) fn begin(&self, excuses: Excuses, victim: usize) -> u64 {
        let mut inner = self.inner();
        inner.begun += 1;
        let number = inner.begun;
        inner.spells.push(Spell { number, excuses, victim, began: Instant::now(), ended: None });
        number
    }

    /// The fault `number` has ended.
    pub(crate) fn end(&self, number: u64) {
        let mut inner = self.inner();
        if let Some(spell) = inner.spells.iter_mut().find(|spell| spell.number == number) {
            spell.ended = Some(Instant::now());
        }
    }

    /// From now on, what is committed may be lost.
    pub(crate) fn loses(&self) {
        self.inner().losing_since = Some(Instant::now());
    }

    /// What was committed from now on stays. What was committed since [`Conditions::loses`] may be gone.
    pub(crate) fn has_lost(&self) {
        let mut inner = self.inner();
        if let Some(from) = inner.losing_since.take() {
            inner.losses.push(Loss { from, until: Instant::now() });
        }
    }

    /// What may have been lost since the database was last asked.
    pub(crate) fn losses(&self) -> Vec<Loss> {
        self.inner().losses.clone()
    }

    /// Whether what was confirmed before may be gone, until the database is asked.
    pub(crate) fn is_lossy(&self) -> bool {
        let inner = self.inner();
        inner.losing_since.is_some() || !inner.losses.is_empty()
    }

    /// All is right again: what ended excuses nothing from now on.
    pub(crate) fn is_right(&self) {
        let mut inner = self.inner();
        inner.spells.retain(|spell| spell.ended.is_none());
        inner.losses.clear();
        inner.forgiven_at = Some(Instant::now());
    }

    /// What the host says must have been right at some moment since then.
    pub(crate) fn horizon(&self, host: usize) -> Instant {
        let inner = self.inner();
        let about = inner.spells.iter().filter(|spell| spell.is_on() && spell.is_about(host));
        let first = about.map(|spell| spell.began).min().unwrap_or_else(Instant::now);
        first.checked_sub(CALM).unwrap_or(first)
    }

    /// The moment before which what was removed is gone even from a host that is cut off.
    pub(crate) fn stale_horizon() -> Instant {
        let now = Instant::now();
        now.checked_sub(MAX_STALE + STALE_SLACK).unwrap_or(now)
    }

    /// Whether lookups of the host may refuse.
    pub(crate) fn may_be_silent(&self, host: usize) -> bool {
        self.inner().spells.iter().any(|spell| {
            let is_about = spell.is_on() && spell.is_about(host);
            // What was cut off for so long refuses, as it should.
            is_about
                && (spell.excuses.silent || spell.began.elapsed() > MAX_STALE.saturating_sub(STALE_SLACK))
        })
    }

    /// Whether the foreign service may have removed some keys from the host.
    pub(crate) fn may_be_shrunk(&self, host: usize) -> bool {
        self.inner().spells.iter().any(|spell| spell.is_on() && spell.victim == host && spell.excuses.shrunk)
    }

    /// Whether a request that was sent at `sent` may have failed.
    pub(crate) fn excuses_write(&self, sent: Instant) -> bool {
        let inner = self.inner();
        inner.spells.iter().any(|spell| {
            spell.excuses.writes == Writes::MayFail
                && spell.ended.is_none_or(|ended| sent <= ended + RECOVERY)
        }) || inner.forgiven_at.is_some_and(|at| sent < at)
    }
}
