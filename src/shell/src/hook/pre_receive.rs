//! Before a push is stored: whether it is within the limits. Its objects are in git's quarantine until then.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use thiserror::Error;

use super::update::RefUpdate;
use crate::disk;
use crate::process::program::{self, ProgramError};
use crate::push::Push;
use crate::settings::{Limits, Locate, Settings};

/// Listing the references of a repository reads one file, or one per reference.
const LISTING_LIMIT: Duration = Duration::from_secs(30);

/// The part of a name that is shown, in bytes.
const NAME_SHOWN_BYTES_MAX: usize = 100;

/// Why a push is not stored.
#[derive(Debug, Error)]
pub(crate) enum PushRefusal {
    #[error("the name of `{name}` is {length} bytes long, and this host accepts {max}")]
    RefName { name: String, length: usize, max: u32 },
    #[error(
        "`{repository}` would have more than the {max} references that this host accepts\nhint: delete some, or push fewer"
    )]
    Refs { repository: String, max: u32 },
    #[error(
        "`{repository}` would take more than the {max_mib} MiB that one repository may take on this host"
    )]
    Repository { repository: String, max_mib: u64 },
    #[error(
        "all repositories of {account} would take more than the {max_mib} MiB that one account may take on this host"
    )]
    Account { account: String, max_mib: u64 },
    #[error(
        "this host cannot count the references of `{repository}`\nhint: try again later, and tell its operator"
    )]
    CannotCount { repository: String, source: ProgramError },
}

/// Checks `updates` and the repository in this process's folder against the limits of `settings`.
pub(crate) fn check(settings: &Settings, push: &Push, updates: &[RefUpdate]) -> Result<(), PushRefusal> {
    check_names(&settings.limits, updates)?;
    check_number(&settings.limits, push, updates)?;
    check_room(settings, push)
}

fn check_names(limits: &Limits, updates: &[RefUpdate]) -> Result<(), PushRefusal> {
    let Some(max) = limits.ref_name_bytes else { return Ok(()) };
    // A name that is there already can still be deleted.
    let new = updates.iter().filter(|update| !update.is_deletion());
    match new.into_iter().find(|update| update.name.len() > max as usize) {
        None => Ok(()),
        Some(update) => {
            let mut name = pushkeys_keys::escape(&update.name).into_owned();
            name.truncate(name.floor_char_boundary(NAME_SHOWN_BYTES_MAX));
            Err(PushRefusal::RefName { name, length: update.name.len(), max })
        }
    }
}

fn check_number(limits: &Limits, push: &Push, updates: &[RefUpdate]) -> Result<(), PushRefusal> {
    let Some(max) = limits.refs else { return Ok(()) };
    let created = updates.iter().filter(|update| update.is_creation()).count();
    let deleted = updates.iter().filter(|update| update.is_deletion()).count();
    if created == 0 {
        return Ok(());
    }
    let repository = push.repository.to_string();
    // One line, its newline alone, for each reference.
    let mut git = Command::new("git");
    git.args(["for-each-ref", "--format=", &format!("--count={}", u64::from(max) + deleted as u64 + 1)]);
    let output_max = max as usize + deleted + 1;
    let listed = program::run_with_output(&mut git, LISTING_LIMIT, output_max)
        .map_err(|source| PushRefusal::CannotCount { repository: repository.clone(), source })?;
    if listed.stdout.len() + created > max as usize + deleted {
        Err(PushRefusal::Refs { repository, max })
    } else {
        Ok(())
    }
}

fn check_room(settings: &Settings, push: &Push) -> Result<(), PushRefusal> {
    let mib = |bytes: u64| bytes >> 20;
    if let Some(max) = settings.limits.repository_bytes
        && disk::exceeds(Path::new("."), max)
    {
        let repository = push.repository.to_string();
        return Err(PushRefusal::Repository { repository, max_mib: mib(max) });
    }
    let folder = match &settings.locate {
        Locate::Template(template) => template.account_folder(&push.identity.account),
        // Whose repository it is, is known to the operator's program alone.
        Locate::Program { .. } => None,
    };
    match (folder, settings.limits.account_bytes) {
        (Some(folder), Some(max)) if disk::exceeds(&settings.root.join(&folder), max) => {
            let account = push.identity.account().to_owned();
            Err(PushRefusal::Account { account, max_mib: mib(max) })
        }
        _ => Ok(()),
    }
}
