//! State that all threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conditions::Conditions;
use crate::log::Log;
use crate::model::Model;

/// State that all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<Log>,
    pub(crate) model: Model,
    pub(crate) conditions: Conditions,
    pub(crate) gate: ChangeGate,
    pub(crate) is_over: AtomicBool,
    /// Counters for the last line.
    pub(crate) counts: Counts,
}

/// Counters of actions, and of users whose actions fail.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) confirmed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The number of users whose last change failed.
    pub(crate) unserved: AtomicU64,
    /// Whether a message about them was logged.
    pub(crate) is_told: AtomicBool,
    pub(crate) lookups: AtomicU64,
    pub(crate) logins: AtomicU64,
    /// The durations of confirmed changes since the last reset, in milliseconds.
    pub(crate) times: Mutex<Vec<u64>>,
    /// The time of the last failed change.
    pub(crate) failed_at: Mutex<Option<Instant>>,
}

impl Counts {
    /// Whether no change failed for `time`.
    pub(crate) fn is_served_for(&self, time: Duration) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_none_or(|at| at.elapsed() > time)
    }

    /// The 90th percentile of the durations since the last call, if there are enough.
    pub(crate) fn slow_ms(&self) -> Option<u64> {
        const ENOUGH: usize = 10;
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        if times.len() < ENOUGH { None } else { times.get(times.len() * 9 / 10).copied() }
    }
}

impl Shared {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits for `time`, or until the end of the run.
    pub(crate) fn rest(&self, time: Duration) {
        const SLICE: Duration = Duration::from_millis(50);
        let end = Instant::now() + time;
        while !self.is_over() {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            thread::sleep(left.min(SLICE));
        }
    }
}

/// Controls when users may change keys.
#[derive(Debug, Default)]
pub(crate) struct ChangeGate {
    state: Mutex<TurnState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TurnState {
    is_paused: bool,
    busy: usize,
}

/// The right to change keys until it is dropped.
#[derive(Debug)]
pub(crate) struct ChangePermit<'a>(&'a ChangeGate);

impl ChangeGate {
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while users are paused.
    pub(crate) fn take(&self) -> ChangePermit<'_> {
        let waited = self.changed.wait_while(self.state(), |state| state.is_paused);
        waited.unwrap_or_else(PoisonError::into_inner).busy += 1;
        ChangePermit(self)
    }

    /// Pauses all users. Returns when the last one has paused, or false after `limit`.
    pub(crate) fn pause(&self, limit: Duration) -> bool {
        let mut state = self.state();
        state.is_paused = true;
        let waited = self.changed.wait_timeout_while(state, limit, |state| state.busy > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.busy == 0
    }

    /// Resumes all users.
    pub(crate) fn resume(&self) {
        self.state().is_paused = false;
        self.changed.notify_all();
    }
}

impl Drop for ChangePermit<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
        self.0.changed.notify_all();
    }
}
