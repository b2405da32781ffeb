//! How often a source is asked for a snapshot: it costs the service more than anything else that hosts ask for.

use std::time::{Duration, Instant};

/// A host asks for this number of snapshots without waiting, and for one more each [`TURN`]. So it asks for no more than
/// [`TURNS_MAX`] in any minute, and for one a minute as long as the reason for asking does not end.
const TURNS_MAX: u32 = 4;
const TURN: Duration = Duration::from_secs(61);

/// The snapshots that may be asked for.
#[derive(Debug)]
pub(super) struct SnapshotTurns {
    /// When all turns are there again, if none is taken until then.
    full_at: Instant,
}

impl SnapshotTurns {
    pub(super) fn new() -> Self {
        Self { full_at: Instant::now() }
    }

    /// How long to wait for the next turn.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        (self.full_at.max(now) + TURN).saturating_duration_since(now).saturating_sub(TURN * TURNS_MAX)
    }

    /// Takes a turn, once there is one.
    pub(super) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + TURN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_in_any_minute_and_then_one_a_minute() {
        let mut turns = SnapshotTurns::new();
        let start = turns.full_at;
        let mut now = start;
        let asked: Vec<Duration> = (0..20)
            .map(|_| {
                now += turns.wait(now);
                turns.take(now);
                now - start
            })
            .collect();
        assert_eq!(asked.get(..4).unwrap(), [Duration::ZERO; 4]);
        assert_eq!(asked.get(4..7).unwrap(), [TURN, TURN * 2, TURN * 3]);
        for pair in asked.windows(5) {
            assert!(pair[4].saturating_sub(pair[0]) > Duration::from_mins(1), "{pair:?}");
        }
    }

    #[test]
    fn turns_come_back_with_time() {
        let mut turns = SnapshotTurns::new();
        let start = turns.full_at;
        (0..4).for_each(|_| turns.take(start));
        assert_eq!(turns.wait(start), TURN);
        let later = start + 2 * TURN;
        turns.take(later);
        assert_eq!(turns.wait(later), Duration::ZERO);
        turns.take(later);
        assert_eq!(turns.wait(later), TURN);
    }
}
