//! The history of a source as this host has seen it, and what is refused because it does not go on from there.
//!
//! A service may be restored from a backup, or be several replicas of which one lags behind. Whatever it answers, a host
//! never goes back: what was removed would be in force again.

use std::collections::VecDeque;
use std::fmt::Write as _;

use pushkeys_feed::{Chain, Cursor, Epoch, EventId, Position};
use thiserror::Error;

/// The number of epochs that a host remembers to have left.
const EPOCHS_LEFT_MAX: usize = 16;

/// The changes of a source up to the last one that was proved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The last change that is known to have happened.
    seen: Option<Position>,
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
    #[error("the snapshot is of an older epoch: it is of change `{offered}`, and this host has `{here}`")]
    OlderEpoch { offered: Cursor, here: Cursor },
    #[error("the answer has no chain value, and this host has `{here}` with one")]
    NoChain { here: Cursor },
    #[error(
        "the chain value of change `{offered}` does not come out of that of `{here}`: another history has these numbers"
    )]
    Chain { offered: EventId, here: EventId },
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
    pub(crate) fn new(seen: Option<Position>) -> Self {
        Self { seen, left: VecDeque::new() }
    }

    /// Whether a snapshot of the state after `offered` may take the place of what is in force.
    ///
    /// The epochs of a service with a chain sort by the time they began. One with the same number and another chain is taken:
    /// the service has said before that it does not know the change that this host has.
    pub(crate) fn check_snapshot(&self, offered: &Position) -> Result<(), HistoryError> {
        let Some(here) = &self.seen else { return Ok(()) };
        let are_chained = offered.chain.is_some() && here.chain.is_some();
        let (is_unchained, offered, here) =
            (offered.chain.is_none() && here.chain.is_some(), &offered.cursor, &here.cursor);
        let both = || (offered.clone(), here.clone());
        if offered.epoch == here.epoch {
            if offered.sequence < here.sequence {
                let (offered, here) = both();
                return Err(HistoryError::OlderSnapshot { offered, here });
            }
            return if is_unchained { Err(HistoryError::NoChain { here: here.clone() }) } else { Ok(()) };
        }
        let (offered, here) = both();
        if self.left.contains(&offered.epoch) {
            return Err(HistoryError::LeftEpoch { offered, here });
        }
        if are_chained && offered.epoch < here.epoch {
            return Err(HistoryError::OlderEpoch { offered, here });
        }
        Ok(())
    }

    /// Goes on at `position`, which was checked before. The epoch so far, if it is another one, is left for good.
    pub(crate) fn enter(&mut self, position: Position) {
        let before = self.seen.replace(position).map(|before| before.cursor.epoch);
        let Some(before) = before.filter(|before| Some(before) != self.epoch()) else { return };
        self.left.retain(|epoch| *epoch != before);
        self.left.push_back(before);
        while self.left.len() > EPOCHS_LEFT_MAX {
            self.left.pop_front();
        }
    }

    /// Whether `position` is of the epoch that this host is in.
    pub(crate) fn is_in_epoch_of(&self, position: &Position) -> bool {
        self.epoch() == Some(&position.cursor.epoch)
    }

    /// The last change, with its chain value, if it is the one that HEAD calls `cursor`.
    pub(crate) fn at(&self, cursor: &str) -> Option<&Position> {
        self.seen.as_ref().filter(|seen| seen.cursor.to_string() == cursor)
    }

    fn epoch(&self) -> Option<&Epoch> {
        self.seen.as_ref().map(|seen| &seen.cursor.epoch)
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

/// The position after the change with `id`, if that is the one after `here`, where the chain value would be `chain`.
pub(crate) fn next(here: &Position, id: &EventId, chain: Option<Chain>) -> Result<Position, HistoryError> {
    let (offered, cursor) = (&id.cursor, &here.cursor);
    let both = || (offered.clone(), cursor.clone());
    if offered.epoch != cursor.epoch {
        let (offered, here) = both();
        return Err(HistoryError::OtherEpoch { offered, here });
    }
    if offered.sequence <= cursor.sequence {
        let (offered, here) = both();
        return Err(HistoryError::Backwards { offered, here });
    }
    if offered.sequence - 1 > cursor.sequence {
        let (offered, here) = both();
        return Err(HistoryError::Gap { offered, here });
    }
    if chain.is_some() && id.chain.is_none() {
        return Err(HistoryError::NoChain { here: cursor.clone() });
    }
    let next = Position { cursor: offered.clone(), chain };
    // A host that began without the chain cannot make its next value.
    if chain.is_some() && !next.is(id) {
        return Err(HistoryError::Chain { offered: id.clone(), here: here.id() });
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: &str) -> Position {
        position.parse().unwrap()
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
            let refused =
                next(&at("e1-10"), &offered.parse().unwrap(), None).err().map(|error| error.to_string());
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
    fn a_chain_that_does_not_come_out_is_refused() {
        let start = Position::start("e1-0".parse().unwrap());
        let mut after = start.clone();
        let chain = after.follow(b"put", b"{}");
        let mut other = start.clone();
        other.follow(b"put", b"{ }");
        assert_eq!(next(&start, &after.id(), chain), Ok(after.clone()));
        let refused = next(&start, &other.id(), chain).unwrap_err().to_string();
        assert!(refused.contains("does not come out of that of"), "{refused}");
        let unchained = next(&start, &"e1-1".parse().unwrap(), chain).unwrap_err().to_string();
        assert!(unchained.contains("no chain value"), "{unchained}");
        // A host that began without a chain goes on by the numbers.
        assert_eq!(next(&at("e1-0"), &after.id(), None), Ok(at("e1-1")));
    }

    #[test]
    fn chained_epochs_sort_by_their_time_and_a_chain_is_not_given_up() {
        let chained = |epoch: &str, sequence: u64| {
            let mut position = Position::start(format!("{epoch}-0").parse().unwrap());
            for _ in 0..sequence {
                position.follow(b"put", b"{}");
            }
            position
        };
        let history = History::new(Some(chained("b", 2)));
        let check = |offered: &Position, expected: Option<&str>| {
            let refused = history.check_snapshot(offered).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), expected.is_some(), "{offered}: {refused:?}");
            assert!(expected.is_none_or(|text| refused.unwrap().contains(text)), "{offered}");
        };
        check(&chained("a", 9), Some("is of an older epoch: it is of change `a-9`, and this host has `b-2`"));
        check(&chained("c", 0), None);
        check(&at("b-2"), Some("no chain value"));
        check(&at("c-0"), None);
        let mut other = Position::start("b-0".parse().unwrap());
        other.follow(b"remove", b"{}");
        other.follow(b"remove", b"{}");
        check(&other, None);
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
