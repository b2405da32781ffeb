//! The host feed of a key service: a snapshot, then its changes, for ever.

use pushkeys_cache::status::State;
use pushkeys_daemon::Backoff;
use pushkeys_feed::{Cursor, Snapshot};

use super::change_stream::{ChangeStream, StreamEnd};
use super::error::SyncError;
use super::requests::{SNAPSHOT_BOUNDS, feed_snapshot};
use super::snapshot;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::new_state::Outcome;
use crate::config::Remote;

/// Follows the feed until something goes wrong or a new snapshot is due.
pub(super) async fn follow(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
    resume_position: &mut Option<String>,
    backoff: &mut Backoff,
) -> Result<(), SyncError> {
    let mut is_fresh = false;
    let mut is_held = false;
    let mut cursor = resume_position.as_deref().and_then(|cursor| cursor.parse::<Cursor>().ok());
    loop {
        let at = if let Some(cursor) = cursor.take() {
            cursor
        } else {
            let (snapshot, outcome) = sync(task, applier, remote).await?;
            is_fresh = true;
            is_held = matches!(outcome, Outcome::Held(_));
            snapshot.cursor
        };
        // A cursor that HEAD does not have must not outlive this connection.
        *resume_position = (!is_held).then(|| at.to_string());
        let mut changes = ChangeStream::open(task, applier, remote, at, is_held).await?;
        let end = changes.follow(backoff).await;
        *resume_position = (!is_held).then(|| changes.cursor().to_string());
        match end? {
            StreamEnd::Reset if is_fresh && !changes.has_moved() => {
                *resume_position = None;
                return Err(SyncError::ResetAgain);
            }
            StreamEnd::Reset | StreamEnd::Confirmed => {}
            StreamEnd::CredentialsChanged => {
                is_fresh = false;
                cursor = Some(changes.cursor().clone());
                continue;
            }
        }
        *resume_position = None;
    }
}

/// Takes a whole snapshot.
pub(super) async fn sync(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
) -> Result<(Snapshot, Outcome), SyncError> {
    task.status.state(State::Syncing);
    let mut body = feed_snapshot(remote).send(Some(SNAPSHOT_BOUNDS)).await?;
    snapshot::take(task, applier, &mut body, |snapshot| Some(snapshot.cursor.to_string())).await
}
