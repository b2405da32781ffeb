//! How much a source may take away within an hour, whatever it does it by: a service that lost its data, or fell into the
//! wrong hands, must not lock everybody out, neither at once nor bit by bit.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_keys::Fingerprint;

/// Removals are counted in slots of five minutes, of which an hour has twelve.
const SLOT_SECONDS: i64 = 300;
const SLOTS: i64 = 12;
/// Those of the hour before and, if the clock was set back, of the hour after.
const SLOTS_KEPT_MAX: usize = 24;

/// Beyond the limit, this number of removals that come alone are obeyed at once, and one more in each [`SINGLE_INTERVAL`].
const SINGLES_MAX: u32 = 2;
const SINGLE_INTERVAL: Duration = Duration::from_mins(1);
/// A removal comes alone if none came within this time before it.
const ALONE: Duration = Duration::from_secs(1);

/// How long a key is new, and how many of them are remembered.
const NEW: Duration = Duration::from_hours(1);
const NEWCOMERS_MAX: usize = 100_000;

/// The removals of the last hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removals {
    /// How many there were in each slot that has any, the last one at the end. A slot is numbered from 1970 on.
    slots: VecDeque<(i64, u64)>,
}

impl Removals {
    /// How many keys were removed in the hour before `now`.
    pub(super) fn within_hour(&self, now: Timestamp) -> u64 {
        let now = slot_of(now);
        // A clock that was set back leaves slots that are still to come: those of the next hour count, others are absurd.
        let counts = |slot: i64| slot > now.saturating_sub(SLOTS) && slot < now.saturating_add(SLOTS);
        self.slots.iter().filter(|(slot, _)| counts(*slot)).map(|(_, removed)| removed).sum()
    }

    /// This number of keys is removed at `now`.
    pub(super) fn add(&mut self, removed: u64, now: Timestamp) {
        let now = slot_of(now);
        self.slots.retain(|(slot, _)| *slot > now.saturating_sub(SLOTS) && *slot < now.saturating_add(SLOTS));
        match self.slots.iter_mut().find(|(slot, _)| *slot == now) {
            _ if removed == 0 => {}
            Some((_, count)) => *count = count.saturating_add(removed),
            None => self.slots.push_back((now, removed)),
        }
    }

    /// What was removed is confirmed, and counts no more.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    /// Appends them to `notes`, to be read by [`Removals::of_notes`].
    pub(super) fn append_to(&self, notes: &mut String) {
        for (nth, (slot, removed)) in self.slots.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(notes, "{}{slot}:{removed}", if nth == 0 { " removed=" } else { "," });
        }
    }

    /// What stands in `notes`. A word that is not understood is none.
    pub(super) fn of_notes(notes: &str) -> Self {
        let text = notes.split(' ').find_map(|word| word.strip_prefix("removed=")).unwrap_or_default();
        let slot = |text: &str| {
            let (slot, removed) = text.split_once(':')?;
            Some((slot.parse().ok()?, removed.parse().ok()?))
        };
        Self { slots: text.split(',').filter_map(slot).take(SLOTS_KEPT_MAX).collect() }
    }
}

fn slot_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(SLOT_SECONDS)
}

/// The removals that come alone, as when a person deletes a key: they are obeyed whatever waits for confirmation.
#[derive(Debug)]
pub(super) struct Singles {
    last_removal: Option<Instant>,
    /// When all of them are free again, if none is used until then.
    full_at: Instant,
}

impl Singles {
    pub(super) fn new() -> Self {
        Self { last_removal: None, full_at: Instant::now() }
    }

    /// Some keys are to be removed at `now`. Whether they are one that comes alone.
    pub(super) fn is_alone(&mut self, removals: usize, now: Instant) -> bool {
        let before = self.last_removal.replace(now);
        removals == 1 && before.is_none_or(|before| now.saturating_duration_since(before) >= ALONE)
    }

    /// Whether a removal that comes alone is obeyed beyond the limit.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + SINGLE_INTERVAL;
        let is_free = full_at.saturating_duration_since(now) <= SINGLE_INTERVAL * SINGLES_MAX;
        if is_free {
            self.full_at = full_at;
        }
        is_free
    }
}

/// The keys that came within the last hour, one by one. If such a key goes again, nobody loses what they had before, so it
/// does not count: robots make keys for minutes.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    since: HashMap<Fingerprint, Instant>,
}

impl Newcomers {
    /// `fingerprint`, which was not in force, comes at `now`.
    pub(super) fn add(&mut self, fingerprint: Fingerprint, now: Instant) {
        if self.since.len() >= NEWCOMERS_MAX {
            self.since.retain(|_, since| now.saturating_duration_since(*since) < NEW);
        }
        if self.since.len() < NEWCOMERS_MAX {
            self.since.insert(fingerprint, now);
        }
    }

    /// Whether `fingerprint`, which goes at `now`, came within the hour before.
    pub(super) fn take(&mut self, fingerprint: &Fingerprint, now: Instant) -> bool {
        self.since.remove(fingerprint).is_some_and(|since| now.saturating_duration_since(since) < NEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    #[test]
    fn removals_count_for_an_hour_and_over_a_restart() {
        let mut removals = Removals::default();
        removals.add(3, at(0));
        removals.add(4, at(20));
        removals.add(1, at(20));
        let mut notes = "seen=e-1".to_owned();
        removals.append_to(&mut notes);
        assert_eq!(notes, "seen=e-1 removed=6000000:3,6000004:5");
        let mut removals = Removals::of_notes(&notes);
        let check = |removals: &Removals, minutes, expected| {
            assert_eq!(removals.within_hour(at(minutes)), expected, "after {minutes} minutes");
        };
        check(&removals, 20, 8);
        check(&removals, 59, 8);
        check(&removals, 60, 5);
        check(&removals, 79, 5);
        check(&removals, 80, 0);
        removals.add(0, at(80));
        assert_eq!(removals, Removals::default());
        assert_eq!(Removals::of_notes("removed=x,1:y"), Removals::default());
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_count_for_ever() {
        let mut removals = Removals::default();
        removals.add(9, at(0));
        assert_eq!(removals.within_hour(at(-30)), 9, "a clock that was set back forgets nothing");
        assert_eq!(removals.within_hour(at(-600)), 0);
    }

    #[test]
    fn a_key_is_new_for_an_hour_and_goes_once() {
        let (mut newcomers, start) = (Newcomers::default(), Instant::now());
        let (one, other) = (Fingerprint::of(b"one"), Fingerprint::of(b"other"));
        newcomers.add(one, start);
        newcomers.add(other, start);
        assert!(newcomers.take(&one, start + Duration::from_mins(59)));
        assert!(!newcomers.take(&one, start + Duration::from_mins(59)));
        assert!(!newcomers.take(&other, start + NEW));
    }

    #[test]
    fn only_what_comes_alone_is_single_and_only_two_at_once() {
        let (mut singles, start) = (Singles::new(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(singles.is_alone(1, start));
        assert!(!singles.is_alone(2, after(10)));
        assert!(!singles.is_alone(1, after(10)));
        assert!(singles.is_alone(1, after(11)));
        assert_eq!(
            [11, 11, 12, 70, 72, 73].map(|second| singles.take(after(second))),
            [true, true, false, false, true, false]
        );
    }
}
