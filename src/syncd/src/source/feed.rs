//! The host feed of a key service: a snapshot, then its changes, for ever.

use pushkeys_cache::status::State;
use pushkeys_feed::{Position, Snapshot};

use super::change_stream::{ChangeStream, StreamEnd};
use super::error::SyncError;
use super::requests::{SNAPSHOT_BOUNDS, feed_snapshot};
use super::snapshot;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::new_state::Outcome;
use crate::backoff::SourceBackoff;
use crate::config::Remote;
use crate::remote::error::RequestError;

/// Follows the feed until something goes wrong or a new snapshot is due.
pub(super) async fn follow(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
    resume_position: &mut Option<String>,
    backoff: &mut SourceBackoff,
) -> Result<(), SyncError> {
    let mut is_fresh = false;
    let mut is_confirmed = false;
    let mut cursor = resume_position.as_deref().and_then(|cursor| cursor.parse::<Position>().ok());
    loop {
        let at = if let Some(cursor) = cursor.take() {
            cursor
        } else {
            let before = resume_position.take();
            // A confirmation is given once, and its operator waits.
            if !std::mem::take(&mut is_confirmed) {
                task.until_snapshot_turn().await;
            }
            let (snapshot, _) = match sync(task, applier, remote).await {
                Ok(taken) => taken,
                Err(error) => {
                    // Another replica may go on from where this host is.
                    *resume_position = before.filter(|_| matches!(error, SyncError::History(_)));
                    return Err(error);
                }
            };
            is_fresh = true;
            snapshot::position(&snapshot)
        };
        // A cursor that HEAD does not have must not outlive this connection.
        *resume_position = (!task.cache.is_held()).then(|| at.to_string());
        let mut changes = ChangeStream::open(task, applier, remote, at).await?;
        let end = changes.follow(backoff).await;
        *resume_position = (!task.cache.is_held()).then(|| changes.position().to_string());
        match end? {
            StreamEnd::Reset if is_fresh && !changes.has_moved() => {
                *resume_position = None;
                return Err(SyncError::ResetAgain);
            }
            StreamEnd::Reset if task.cache.is_held() => {}
            StreamEnd::Reset => task.status.state(State::Behind),
            StreamEnd::Confirmed => {
                *resume_position = None;
                is_confirmed = true;
            }
            StreamEnd::CredentialsChanged => {
                is_fresh = false;
                cursor = Some(changes.position().clone());
            }
        }
    }
}

/// Takes a whole snapshot.
pub(super) async fn sync(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
) -> Result<(Snapshot, Outcome), SyncError> {
    task.status.state(State::Syncing);
    let answer = feed_snapshot(remote).send(Some(SNAPSHOT_BOUNDS)).await;
    if answer.as_ref().map_or_else(RequestError::is_of_answer, |_| true) {
        task.take_snapshot_turn();
    }
    let mut body = answer?;
    snapshot::take(task, applier, &mut body, |snapshot| Some(snapshot.cursor.to_string())).await
}
