//! A source of key files in a local folder.

use std::path::Path;
use std::sync::Arc;

use super::error::SyncError;
use super::key_files;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::new_state::{Outcome, Place};
use crate::backoff::SourceBackoff;
use crate::watch::Watch;

/// Reads the folder whenever something in it changes, until the applier stops.
pub(super) async fn follow(
    task: &SourceTask,
    applier: &Applier,
    path: &Path,
    backoff: &mut SourceBackoff,
) -> Result<(), SyncError> {
    loop {
        // A folder that was removed and made again is another one, so watching begins again each time; and it begins
        // before the folder is read, so that no change falls between the two.
        let mut watch = Watch::on([path]);
        task.status.watch_error(watch.error());
        let wait = match sync(task, applier, path).await {
            Ok(_) => {
                backoff.reset();
                watch.interval()
            }
            Err(_) if applier.has_stopped() => return Err(ApplyError::Stopped.into()),
            Err(error) => {
                task.failed(&error);
                backoff.wait(error.is_outage())
            }
        };
        tokio::select! {
            () = watch.changed() => {}
            () = task.pause(wait) => {}
            () = task.until_confirmed() => {}
            () = applier.stopped() => return Err(ApplyError::Stopped.into()),
        }
    }
}

/// Makes the cache equal to the folder.
pub(super) async fn sync(task: &SourceTask, applier: &Applier, path: &Path) -> Result<Outcome, SyncError> {
    task.status.first_sync();
    let (folder, validator) = (path.to_owned(), Arc::clone(&task.validator));
    let keys = tokio::task::spawn_blocking(move || key_files::read(&folder, &validator))
        .await
        .map_err(|_| ApplyError::Stopped)??;
    let new_state = applier.replace().await?;
    // An applier that has stopped says so at the end.
    let _ = new_state.part().await?.send(keys);
    Ok(new_state.end(Place::default()).await??)
}
