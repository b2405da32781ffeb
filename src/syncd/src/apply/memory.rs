//! What is remembered of a source over restarts, in the notes of HEAD.

use super::guard::Removals;
use crate::history::History;

/// What the applier remembers of its source.
#[derive(Debug)]
pub(super) struct Memory {
    /// Tells apart where the source's answers come from: another service has another history.
    origin: String,
    pub(super) history: History,
    /// Wherever the answers come from.
    pub(super) removals: Removals,
}

impl Memory {
    /// What stands in `notes` of the source that is at `origin` now.
    pub(super) fn of_notes(notes: &str, origin: &str) -> Self {
        let is_same = notes.split(' ').any(|word| word.strip_prefix("origin=") == Some(origin));
        let history = if is_same { History::of_notes(notes) } else { History::default() };
        Self { origin: origin.to_owned(), history, removals: Removals::of_notes(notes) }
    }

    /// As HEAD is to keep it.
    pub(super) fn to_notes(&self) -> String {
        let mut notes = format!("origin={}", self.origin);
        self.history.append_to(&mut notes);
        self.removals.append_to(&mut notes);
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_has_another_history() {
        let mut memory = Memory::of_notes("", "here");
        memory.history.enter("e1-7".parse().unwrap());
        let notes = memory.to_notes();
        assert_eq!(notes, "origin=here seen=e1-7");
        assert_eq!(Memory::of_notes(&notes, "here").history, memory.history);
        assert_eq!(Memory::of_notes(&notes, "there").history, History::default());
    }
}
