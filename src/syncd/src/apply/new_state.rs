//! A whole new state on its way to the applier, part by part.

use pushkeys_cache::{Difference, Held};
use pushkeys_feed::Position;
use tokio::sync::{mpsc, oneshot};

use super::error::ApplyError;
use crate::history::HistoryError;
use crate::validate::Validated;

/// How many parts wait for the applier; they bound the memory of a sync.
pub(super) const PARTS_MAX: usize = 8;

/// Hands over a new state. Unless it ends with [`NewState::end`], nothing happens.
pub(crate) struct NewState {
    pub(super) parts: mpsc::Sender<StatePart>,
    pub(super) outcome: oneshot::Receiver<Result<Outcome, HistoryError>>,
}

/// A part of a new state.
pub(super) enum StatePart {
    /// Entries above those of the parts before. They may still be in validation.
    Entries(oneshot::Receiver<Validated>),
    /// The source has sent everything.
    End(Place),
}

/// Where in its source's history a new state is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The last change before it, where the source numbers them.
    pub(crate) last: Option<Position>,
    /// What HEAD keeps as its cursor, in the source's own words.
    pub(crate) cursor: Option<String>,
}

/// What became of a new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in force.
    Taken(Difference),
    /// It waits for confirmation.
    Held(Held),
}

impl NewState {
    /// Adds a part, whose entries are sent by what is returned: in ascending order of the fingerprints' bytes, and above
    /// those of the parts before. Waits as long as the applier has enough to do.
    pub(crate) async fn part(&self) -> Result<oneshot::Sender<Validated>, ApplyError> {
        let (sender, receiver) = oneshot::channel();
        self.parts.send(StatePart::Entries(receiver)).await.map_err(|_| ApplyError::Stopped)?;
        Ok(sender)
    }

    /// Says that everything was handed over, and waits until it is in force, held back or refused.
    pub(crate) async fn end(self, place: Place) -> Result<Result<Outcome, HistoryError>, ApplyError> {
        self.parts.send(StatePart::End(place)).await.map_err(|_| ApplyError::Stopped)?;
        self.outcome.await.map_err(|_| ApplyError::Stopped)
    }
}
