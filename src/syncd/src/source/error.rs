//! What can go wrong with a source, sorted by what it means for its state.

use pushkeys_cache::status::State;
use pushkeys_cache::{ReadError, WriteError};
use pushkeys_feed::{SnapshotError, StreamError};
use thiserror::Error;

use crate::remote::credentials::CredentialError;
use crate::source::DirectoryError;

/// Why a source could not be brought in step. What is in force stays in force.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialError),
    #[error("cannot reach `{url}`")]
    Connect { url: String, source: reqwest::Error },
    #[error("the answer of `{url}` broke off")]
    Body { url: String, source: reqwest::Error },
    #[error("`{url}` was silent for {seconds} s")]
    Silent { url: String, seconds: f32 },
    #[error("`{url}` ended the stream of changes")]
    Ended { url: String },
    #[error("`{url}` answered with status {status}{}{}", said.as_deref().unwrap_or_default(), hint(*status, said.as_deref()))]
    Status {
        url: String,
        status: u16,
        /// Why, in its own words, behind a colon.
        said: Option<String>,
    },
    #[error(
        "`{url}` answered with status {status}, a redirect, which is not followed\nhint: put the final address into `url`"
    )]
    Redirect { url: String, status: u16 },
    #[error("`{url}` answered with the content type `{found}` instead of `{expected}`")]
    ContentType { url: String, found: String, expected: &'static str },
    #[error("the answer of `{url}` is longer than {bytes_max} bytes")]
    TooLong { url: String, bytes_max: u64 },
    #[error("the answer of `{url}` took longer than {seconds_max} s")]
    TooSlow { url: String, seconds_max: u64 },
    #[error("the answer of `{url}` to a report cannot be read")]
    Reply { url: String },
    #[error("the snapshot is refused")]
    Snapshot(#[from] SnapshotError),
    #[error("the stream of changes is refused")]
    Stream(#[from] StreamError),
    #[error("the key service asks for a snapshot again right after one")]
    ResetAgain,
    #[error("the stream stayed at change {here} while the service is at change {there}")]
    Behind { here: u64, there: u64 },
    #[error("the directory is refused")]
    Directory(#[from] DirectoryError),
    #[error("the cache cannot be written")]
    Write(#[from] WriteError),
    #[error("the cache cannot be read")]
    Read(#[from] ReadError),
    #[error("the writer of the cache has stopped")]
    Stopped,
}

impl SyncError {
    /// The state of a source to which this happened.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Connect { .. } | Self::Body { .. } | Self::Silent { .. } | Self::Ended { .. } => {
                State::Unreachable
            }
            Self::Status { status, .. } if *status >= 500 || *status == 429 => State::Unreachable,
            Self::Write(_) | Self::Read(_) | Self::Stopped => State::Failed,
            Self::Behind { .. } => State::Behind,
            _ => State::Refused,
        }
    }
}

fn hint(status: u16, said: Option<&str>) -> &'static str {
    match status {
        401 | 403 if said.is_none() => {
            "\nhint: make a token with `pushkeys-server host add`, and put it into the file of `token_file`"
        }
        404 => "\nhint: check `url`: `/v1/feed/…` is put behind it",
        _ => "",
    }
}
