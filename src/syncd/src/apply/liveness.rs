//! The sign of life of an applier, for systemd's watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when an applier has been busy.
#[derive(Debug)]
pub(super) struct Liveness {
    started: Instant,
    /// Milliseconds from `started` to the last sign of life of a busy applier, or 0 while it is idle.
    busy_since_ms: AtomicU64,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), busy_since_ms: AtomicU64::new(0) }
    }

    /// For how long the applier has been busy without a sign of life.
    pub(super) fn stuck_for(&self) -> Duration {
        match self.busy_since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.started.elapsed().saturating_sub(Duration::from_millis(since)),
        }
    }

    /// A sign of life in the middle of work.
    pub(super) fn busy(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.busy_since_ms.store(elapsed.max(1), Ordering::Relaxed);
    }

    /// The work at hand is done.
    pub(super) fn idle(&self) {
        self.busy_since_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_applier_can_be_stuck() {
        let liveness = Liveness {
            started: Instant::now().checked_sub(Duration::from_mins(1)).unwrap(),
            busy_since_ms: AtomicU64::new(0),
        };
        assert_eq!(liveness.stuck_for(), Duration::ZERO);
        liveness.busy_since_ms.store(1, Ordering::Relaxed);
        assert!(liveness.stuck_for() >= Duration::from_secs(59));
        liveness.busy();
        assert!(liveness.stuck_for() < Duration::from_secs(59));
        liveness.idle();
        assert_eq!(liveness.stuck_for(), Duration::ZERO);
    }
}
