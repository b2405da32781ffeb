//! Why a source cannot be synced, sorted by what it means for its state.

use pushkeys_cache::status::State;
use pushkeys_feed::{SnapshotError, StreamError};
use thiserror::Error;

use super::key_files::KeyFilesError;
use crate::apply::error::ApplyError;
use crate::history::HistoryError;
use crate::remote::error::RequestError;

/// Why a source could not be synced. What is in force stays in force.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("`{url}` ended the stream of changes")]
    Ended { url: String },
    #[error("the snapshot is refused")]
    Snapshot(#[from] SnapshotError),
    #[error("the stream of changes is refused")]
    Stream(#[from] StreamError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("the key service asks for a snapshot again right after one")]
    ResetAgain,
    #[error("the stream stayed at change {here} while the service is at change {there}")]
    Behind { here: u64, there: u64 },
    #[error("the directory is refused")]
    Directory(#[from] KeyFilesError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl SyncError {
    /// Whether the other side, or this host's disk, may be back at any moment.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Request(error) if error.is_throttled() => false,
            _ => matches!(self.state(), State::Unreachable | State::Failed),
        }
    }

    /// The state of a source to which this happened.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Ended { .. } => State::Unreachable,
            Self::Request(error) if error.is_outage() => State::Unreachable,
            Self::Apply(_) => State::Failed,
            Self::Behind { .. } => State::Behind,
            _ => State::Refused,
        }
    }
}
