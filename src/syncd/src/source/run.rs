//! Running a source: for ever, or for one full sync.

use std::sync::Arc;

use super::error::SyncError;
use super::task::SourceTask;
use super::{directory, feed, poll};
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::new_state::Outcome;
use crate::backoff::SourceBackoff;
use crate::config::SourceKind;
use crate::report::acknowledgement;

/// Keeps the cache in sync with the source until the task is aborted.
pub(crate) async fn run(task: Arc<SourceTask>) {
    let mut backoff = SourceBackoff::new();
    loop {
        let error = match Applier::open(&task.cache).await {
            Ok(applier) => {
                listen(&task, &applier, &mut backoff).await;
                applier.join().await.err()
            }
            Err(error) => Some(error),
        };
        let error = error.unwrap_or(ApplyError::Stopped).into();
        task.failed(&error);
        task.pause(backoff.wait(error.is_outage())).await;
    }
}

/// Connects again and again until the applier stops.
async fn listen(task: &SourceTask, applier: &Applier, backoff: &mut SourceBackoff) {
    let mut resume_position = applier.resume_position.clone();
    loop {
        let result = match &task.settings.kind {
            SourceKind::Feed(remote) => tokio::select! {
                result = feed::follow(task, applier, remote, &mut resume_position, backoff) => result,
                never = acknowledgement::send_all(&task.cache, remote) => match never {},
            },
            SourceKind::Poll { remote, interval } => {
                poll::follow(task, applier, remote, *interval, &mut resume_position, backoff).await
            }
            SourceKind::Directory { path } => directory::follow(task, applier, path, backoff).await,
        };
        if applier.has_stopped() {
            return;
        }
        if let Err(error) = result {
            task.failed(&error);
            task.pause(backoff.wait(error.is_outage())).await;
        }
    }
}

/// Does one full sync.
pub(crate) async fn sync_once(task: &SourceTask) -> Result<Outcome, SyncError> {
    let applier = Applier::open(&task.cache).await?;
    let result = match &task.settings.kind {
        SourceKind::Feed(remote) => feed::sync(task, &applier, remote).await.map(|(_, outcome)| outcome),
        SourceKind::Poll { remote, .. } => poll::sync(task, &applier, remote).await,
        SourceKind::Directory { path } => directory::sync(task, &applier, path).await,
    };
    // Why the applier stopped says more than that it did.
    applier.join().await?;
    result
}
