//! A source of key files in a local folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pushkeys_keys::AccountId;
use sha2::{Digest as _, Sha256};

use super::error::SyncError;
use super::key_files;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::new_state::{Outcome, Place};
use crate::backoff::SourceBackoff;
use crate::validate::Validated;
use crate::watch::Watch;

/// What was read of a folder, to see whether anything has changed since.
type Content = [u8; 32];

/// Reads the folder whenever something in it changes, until the applier stops.
pub(super) async fn follow(
    task: &SourceTask,
    applier: &Applier,
    path: &Path,
    backoff: &mut SourceBackoff,
) -> Result<(), SyncError> {
    let mut last = None;
    loop {
        // A folder that was removed and made again is another one, so watching begins again each time; and it begins
        // before the folder is read, so that no change falls between the two.
        let mut watch = Watch::on([path]);
        task.status.watch_error(watch.error());
        let wait = match sync_if_changed(task, applier, path, &mut last).await {
            Ok(()) => {
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

/// Makes the cache equal to the folder, unless it is by what was read `last`.
async fn sync_if_changed(
    task: &SourceTask,
    applier: &Applier,
    path: &Path,
    last: &mut Option<Content>,
) -> Result<(), SyncError> {
    let keys = read(task, path).await?;
    let content = content(&keys);
    if *last == Some(content) {
        return Ok(applier.contact().await?);
    }
    *last = None;
    if let Outcome::Taken(_) = replace(applier, keys).await? {
        *last = Some(content);
    }
    Ok(())
}

/// Makes the cache equal to the folder.
pub(super) async fn sync(task: &SourceTask, applier: &Applier, path: &Path) -> Result<Outcome, SyncError> {
    let keys = read(task, path).await?;
    replace(applier, keys).await
}

async fn read(task: &SourceTask, path: &Path) -> Result<Validated, SyncError> {
    task.status.first_sync();
    let (folder, validator) = (path.to_owned(), Arc::clone(&task.validator));
    let (cache, name) = (task.cache.folder.clone(), task.settings.name.clone());
    let in_force = move |accounts: &BTreeSet<AccountId>| key_files::in_force(&cache, &name, accounts);
    let keys = tokio::task::spawn_blocking(move || key_files::read(&folder, &validator, in_force)).await;
    Ok(keys.map_err(|_| ApplyError::Stopped)??)
}

async fn replace(applier: &Applier, keys: Validated) -> Result<Outcome, SyncError> {
    let new_state = applier.replace().await?;
    // An applier that has stopped says so at the end.
    let _ = new_state.part().await?.send(keys);
    Ok(new_state.end(Place::default()).await??)
}

/// A digest of everything that an operator could see of `keys`.
fn content(keys: &Validated) -> Content {
    let Validated { entries, skipped } = keys;
    let mut hash = Sha256::new();
    for entry in entries {
        hash.update(format!("{entry:?}\n"));
    }
    for skip in skipped {
        hash.update(format!("{skip}\n"));
    }
    hash.finalize().into()
}
