//! Keeps the list for sshd equal to what is revoked on this host, and lifts the revocations that no source needs any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pushkeys_cache::{Cache, ReadError, Revocation, Revocations, Revoked, WriteError};
use pushkeys_files::WriteFileError;
use pushkeys_keys::{ErrorReport, Fingerprint};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::accounts::AccountKeys;
use super::answers::RevocationAnswers;
use super::key_list;

/// How soon a revocation is in the list for sshd, and is lifted when no source needs it any more.
const TICK: Duration = Duration::from_secs(1);

/// Watches over the cache in `folder` for ever. `list` is where sshd's `RevokedKeys` points, if that is configured.
pub(crate) async fn run(
    folder: PathBuf,
    answers: Arc<RevocationAnswers>,
    list: watch::Receiver<Option<PathBuf>>,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper =
        Keeper { folder, answers, list: None, accounts: AccountKeys::default(), last_error: None };
    loop {
        ticks.tick().await;
        let path = list.borrow().clone();
        keeper = match tokio::task::spawn_blocking(move || keeper.keep(path.as_deref())).await {
            Ok(keeper) => keeper,
            Err(_) => return,
        };
    }
}

/// What is revoked in the cache in `folder`; nothing is before the first source has made it.
pub(crate) fn revocations(folder: &Path) -> Result<Revocations, ReadError> {
    match pushkeys_cache::revocations(folder) {
        Err(ReadError::Missing(_)) => Ok(Revocations::default()),
        other => other,
    }
}

struct Keeper {
    folder: PathBuf,
    answers: Arc<RevocationAnswers>,
    /// What is in the list for sshd, and where that is.
    list: Option<(PathBuf, BTreeSet<Fingerprint>)>,
    /// The keys of the revoked accounts that go into the list, or that may be lifted.
    accounts: AccountKeys,
    /// What was logged last.
    last_error: Option<String>,
}

#[derive(Debug, Error)]
enum KeeperError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot replace the revoked_keys_file")]
    List(#[source] WriteFileError),
}

impl Keeper {
    fn keep(mut self, list: Option<&Path>) -> Self {
        let error = self.try_keep(list).err().map(|error| ErrorReport::of(&error).to_string());
        if error != self.last_error {
            if let Some(error) = &error {
                tracing::error!("what is revoked on this host is not kept: {error}");
            }
            self.last_error = error;
        }
        self
    }

    fn try_keep(&mut self, list: Option<&Path>) -> Result<(), KeeperError> {
        let revocations = revocations(&self.folder)?;
        let settled: Vec<&Revocation> =
            revocations.iter().filter(|revocation| self.answers.is_settled(revocation)).collect();
        let accounts = match list {
            Some(_) => revocations.iter().filter_map(account_of).collect(),
            None => settled.iter().copied().filter_map(account_of).collect(),
        };
        let is_current = self.accounts.find(&self.folder, accounts)?;
        if let Some(path) = list {
            self.keep_list(path, &revocations)?;
        }
        settled.into_iter().try_for_each(|revocation| self.lift(&revocation.what, is_current))
    }

    /// Takes back what every key service says that it does not have, if no source of this host has it any more.
    /// `is_current` says whether the keys of accounts are those in force now.
    fn lift(&self, what: &Revoked, is_current: bool) -> Result<(), KeeperError> {
        let is_gone = match what {
            Revoked::Key(fingerprint) => !is_in_force(&self.folder, fingerprint)?,
            Revoked::Account(account) => is_current && self.accounts.of(account.as_str()).is_empty(),
        };
        if is_gone {
            // What is lifted for good must not be in force again after a power cut.
            Cache::open(&self.folder)?.make_durable()?;
            pushkeys_cache::change_revocations(&self.folder, |all| all.remove(what))?;
            tracing::info!("the {what} is no longer revoked on this host: no source has it any more");
        }
        Ok(())
    }

    fn keep_list(&mut self, path: &Path, revocations: &Revocations) -> Result<(), KeeperError> {
        let mut keys = BTreeSet::new();
        for Revocation { what, .. } in revocations.iter() {
            match what {
                Revoked::Key(fingerprint) => drop(keys.insert(*fingerprint)),
                Revoked::Account(account) => keys.extend(self.accounts.of(account.as_str())),
            }
        }
        let is_current = self.list.as_ref().is_some_and(|(at, listed)| at == path && *listed == keys);
        if is_current && path.exists() {
            return Ok(());
        }
        key_list::replace(path, &keys).map_err(KeeperError::List)?;
        self.list = Some((path.to_owned(), keys));
        Ok(())
    }
}

fn account_of(revocation: &Revocation) -> Option<String> {
    match &revocation.what {
        Revoked::Key(_) => None,
        Revoked::Account(account) => Some(account.to_string()),
    }
}

/// Whether a source has the key.
fn is_in_force(folder: &Path, fingerprint: &Fingerprint) -> Result<bool, ReadError> {
    for one in Cache::open(folder)?.consult(fingerprint)?.sources {
        if one.found?.1.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
