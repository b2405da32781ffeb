//! The history of a source as this host has seen it, and what is refused because it does not go on from there.
//!
//! A service may be restored from a backup, or be several replicas of which one lags behind. Whatever it answers, a host
//! never goes back: what was removed would be in force again.

use std::collections::VecDeque;
use std::fmt::Write as _;

use pushkeys_feed::{Cursor, Epoch};
use thiserror::Error;

/// The number of epochs that a host remembers to have left.
const EPOCHS_LEFT_MAX: usize = 16;

/// The changes of a source up to the last one that was proved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The last change that is known to have happened.
    seen: Option<Cursor>,
    /// The epochs before that of `seen`, the last one at the end.
    left: VecDeque<Epoch>,
}

/// Why an answer is refused: it does not go on from where this host is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum HistoryError {
    #[error(
        "the snapshot is older than what is in force: it is of change `{offered}`, and this host has `{here}`"
    )]
    OlderSnapshot { offered: Cursor, here: Cursor },
    #[error(
        "the snapshot is of an epoch that this host has left: it is of change `{offered}`, and this host has `{here}`"
    )]
    LeftEpoch { offered: Cursor, here: Cursor },
    #[error("the stream goes on with change `{offered}` of another epoch, and this host has `{here}`")]
    OtherEpoch { offered: Cursor, here: Cursor },
    #[error("the stream runs backwards: change `{offered}` came after `{here}`")]
    Backwards { offered: Cursor, here: Cursor },
    #[error("the stream has a gap: change `{offered}` came after `{here}`")]
    Gap { offered: Cursor, here: Cursor },
    #[error("the stream has a change without an id after `{here}`")]
    NoId { here: Cursor },
    #[error("the stream has a change whose id cannot be read after `{here}`")]
    Id {
        here: Cursor,
        #[source]
        source: pushkeys_feed::ParseCursorError,
    },
    #[error("the heartbeat is of change {offered}, which is before `{here}`, which this host has")]
    OlderHeartbeat { offered: u64, here: Cursor },
}

impl History {
    /// The history that goes on after `seen`, which may be unknown.
    pub(crate) fn new(seen: Option<Cursor>) -> Self {
        Self { seen, left: VecDeque::new() }
    }

    /// Whether a snapshot of the state after `offered` may take the place of what is in force.
    pub(crate) fn check_snapshot(&self, offered: &Cursor) -> Result<(), HistoryError> {
        let Some(here) = &self.seen else { return Ok(()) };
        let both = || (offered.clone(), here.clone());
        if offered.epoch == here.epoch && offered.sequence < here.sequence {
            let (offered, here) = both();
            return Err(HistoryError::OlderSnapshot { offered, here });
        }
        if offered.epoch != here.epoch && self.left.contains(&offered.epoch) {
            let (offered, here) = both();
            return Err(HistoryError::LeftEpoch { offered, here });
        }
        Ok(())
    }

    /// Goes on at `cursor`, which was checked before. The epoch so far, if it is another one, is left for good.
    pub(crate) fn enter(&mut self, cursor: Cursor) {
        let before = self.seen.replace(cursor);
        let Some(before) = before.filter(|before| Some(&before.epoch) != self.epoch()) else { return };
        self.left.retain(|epoch| *epoch != before.epoch);
        self.left.push_back(before.epoch);
        while self.left.len() > EPOCHS_LEFT_MAX {
            self.left.pop_front();
        }
    }

    /// Whether `cursor` is of the epoch that this host is in.
    pub(crate) fn is_in_epoch_of(&self, cursor: &Cursor) -> bool {
        self.epoch() == Some(&cursor.epoch)
    }

    fn epoch(&self) -> Option<&Epoch> {
        self.seen.as_ref().map(|seen| &seen.epoch)
    }

    /// Appends it to `notes`, to be read by [`History::of_notes`].
    pub(crate) fn append_to(&self, notes: &mut String) {
        // Writing to a String cannot fail.
        if let Some(seen) = &self.seen {
            let _ = write!(notes, " seen={seen}");
        }
        if !self.left.is_empty() {
            let left: Vec<&str> = self.left.iter().map(Epoch::as_str).collect();
            let _ = write!(notes, " left={}", left.join(","));
        }
    }

    /// What stands in `notes`. A word that is not understood is none.
    pub(crate) fn of_notes(notes: &str) -> Self {
        let value = |key: &str| notes.split(' ').find_map(|word| word.strip_prefix(key));
        let left = value("left=").unwrap_or_default().split(',').filter_map(|epoch| epoch.parse().ok());
        Self { seen: value("seen=").and_then(|seen| seen.parse().ok()), left: left.collect() }
    }
}

/// Whether the change `offered` is the one after `here`.
pub(crate) fn check_next(here: &Cursor, offered: &Cursor) -> Result<(), HistoryError> {
    let both = || (offered.clone(), here.clone());
    if offered.epoch != here.epoch {
        let (offered, here) = both();
        return Err(HistoryError::OtherEpoch { offered, here });
    }
    if offered.sequence <= here.sequence {
        let (offered, here) = both();
        return Err(HistoryError::Backwards { offered, here });
    }
    if offered.sequence - 1 > here.sequence {
        let (offered, here) = both();
        return Err(HistoryError::Gap { offered, here });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cursor: &str) -> Cursor {
        cursor.parse().unwrap()
    }

    #[test]
    fn a_snapshot_never_leads_back() {
        let mut history = History::default();
        let check = |history: &History, offered: &str, expected: Option<&str>| {
            let refused = history.check_snapshot(&at(offered)).err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(refused, None, "{offered}"),
                Some(expected) => assert!(refused.unwrap().contains(expected), "{offered}"),
            }
        };
        check(&history, "e1-0", None);
        history.enter(at("e1-10"));
        check(
            &history,
            "e1-9",
            Some("is older than what is in force: it is of change `e1-9`, and this host has `e1-10`"),
        );
        check(&history, "e1-10", None);
        check(&history, "e1-11", None);
        check(&history, "e2-0", None);
        history.enter(at("e2-3"));
        check(&history, "e1-99", Some("is of an epoch that this host has left"));
        check(&history, "e2-2", Some("is older"));
        check(&history, "e3-0", None);
    }

    #[test]
    fn the_last_sixteen_epochs_that_were_left_are_remembered() {
        let mut history = History::default();
        (0..=17).for_each(|number| history.enter(at(&format!("e{number}-1"))));
        let refused = |number: usize| history.check_snapshot(&at(&format!("e{number}-5"))).is_err();
        assert_eq!((refused(0), refused(1), refused(16)), (false, true, true));
    }

    #[test]
    fn the_stream_goes_on_by_one() {
        let check = |offered: &str, expected: Option<&str>| {
            let refused = check_next(&at("e1-10"), &at(offered)).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), expected.is_some(), "{offered}");
            assert!(expected.is_none_or(|text| refused.unwrap().contains(text)), "{offered}");
        };
        check("e1-11", None);
        check("e1-12", Some("a gap: change `e1-12` came after `e1-10`"));
        check("e1-10", Some("runs backwards: change `e1-10` came after `e1-10`"));
        check("e1-0", Some("runs backwards"));
        check("e2-11", Some("change `e2-11` of another epoch"));
        check("e1-18446744073709551615", Some("a gap"));
    }

    #[test]
    fn it_is_read_from_notes_as_it_was_written() {
        let mut history = History::default();
        let check = |history: &History| {
            let mut notes = "other=1".to_owned();
            history.append_to(&mut notes);
            assert_eq!(History::of_notes(&notes), *history, "{notes}");
            assert!(notes.len() < pushkeys_cache::NOTES_BYTES_MAX / 2, "{notes}");
        };
        check(&history);
        for number in 0..40_u64 {
            history.enter(at(&format!("{}{number:02}-{}", "e".repeat(30), u64::MAX)));
            check(&history);
        }
    }
}
