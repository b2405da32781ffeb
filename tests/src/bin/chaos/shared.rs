//! What all threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::conditions::Conditions;
use crate::log::Log;
use crate::model::Model;

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<Log>,
    pub(crate) model: Model,
    pub(crate) conditions: Conditions,
    pub(crate) turns: Turns,
    pub(crate) is_over: AtomicBool,
    /// What was done, for the last line.
    pub(crate) counts: Counts,
}

/// How often what was done, and by how many it is done in vain.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) confirmed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Users whose last change was not taken.
    pub(crate) unserved: AtomicU64,
    /// Whether it was told that there are any.
    pub(crate) is_told: AtomicBool,
    pub(crate) lookups: AtomicU64,
    pub(crate) logins: AtomicU64,
    /// How long each of the changes took that were confirmed since this was emptied, in milliseconds.
    pub(crate) times: Mutex<Vec<u64>>,
    /// When a change was not taken last.
    pub(crate) failed_at: Mutex<Option<Instant>>,
}

impl Counts {
    /// Whether every change was taken for `time`.
    pub(crate) fn is_served_for(&self, time: Duration) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_none_or(|at| at.elapsed() > time)
    }

    /// What nine tenths of the changes took at most since it was last asked for, where there are enough of them to tell.
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

    /// Waits for `time`, or until all is over.
    pub(crate) fn rest(&self, time: Duration) {
        const SLICE: Duration = Duration::from_millis(50);
        let end = Instant::now() + time;
        while !self.is_over() {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            thread::sleep(left.min(SLICE));
        }
    }
}

/// Who may change keys: users take turns, unless all of them are to wait.
#[derive(Debug, Default)]
pub(crate) struct Turns {
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
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while all are to wait.
    pub(crate) fn take(&self) -> Turn<'_> {
        let waited = self.changed.wait_while(self.state(), |state| state.is_paused);
        waited.unwrap_or_else(PoisonError::into_inner).busy += 1;
        Turn(self)
    }

    /// From now on all wait. Returns when the last one does, or after `limit`; `false`: some do not wait yet.
    pub(crate) fn pause(&self, limit: Duration) -> bool {
        let mut state = self.state();
        state.is_paused = true;
        let waited = self.changed.wait_timeout_while(state, limit, |state| state.busy > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.busy == 0
    }

    /// All go on.
    pub(crate) fn go_on(&self) {
        self.state().is_paused = false;
        self.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
        self.0.changed.notify_all();
    }
}
