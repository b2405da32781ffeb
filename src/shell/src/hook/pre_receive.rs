//! Before a push is stored: checks the limits. git keeps the objects in quarantine until then.

use std::process::Command;
use std::time::Duration;

use pushkeys_keys::Hint;
use thiserror::Error;

use super::update::RefUpdate;
use crate::process::program;
use crate::push::Push;
use crate::room::{self, NoRoom};
use crate::settings::{Limits, Settings};

/// Listing the references of a repository reads one file, or one per reference.
const LISTING_LIMIT: Duration = Duration::from_secs(30);

/// What a client can do about a fault of the host.
pub(super) const TRY_LATER: &str = "try again later, and report it to the operator";

/// The longest part of a name in a message, in bytes.
const NAME_SHOWN_BYTES_MAX: usize = 100;

/// Why a push is refused.
#[derive(Debug, Error)]
pub(crate) enum PushRefusal {
    #[error("the name of `{name}` is {length} bytes long, and this host accepts at most {max}")]
    RefName { name: String, length: usize, max: u32 },
    #[error("`{repository}` would have more than the {max} references that this host accepts")]
    Refs {
        repository: String,
        max: u32,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    Room(#[from] NoRoom),
    #[error("this host cannot count the references of `{repository}`")]
    CannotCount { repository: String, source: Hint },
}

/// Checks `updates` and the repository in the current folder against the limits of `settings`.
pub(crate) fn check(settings: &Settings, push: &Push, updates: &[RefUpdate]) -> Result<(), PushRefusal> {
    check_names(&settings.limits, updates)?;
    check_number(&settings.limits, push, updates)?;
    Ok(room::check(settings, &push.identity)?)
}

fn check_names(limits: &Limits, updates: &[RefUpdate]) -> Result<(), PushRefusal> {
    let Some(max) = limits.ref_name_bytes else { return Ok(()) };
    // An existing reference with a long name can still be deleted.
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
    // The output is one newline for each reference.
    let mut git = Command::new("git");
    git.args(["for-each-ref", "--format=", &format!("--count={}", u64::from(max) + deleted as u64 + 1)]);
    let output_max = max as usize + deleted + 1;
    let listed = program::run_with_output(&mut git, LISTING_LIMIT, output_max).map_err(|error| {
        PushRefusal::CannotCount { repository: repository.clone(), source: Hint::because(TRY_LATER, error) }
    })?;
    if listed.stdout.len() + created > max as usize + deleted {
        Err(PushRefusal::Refs { repository, max, hint: Hint::new("delete some, or push fewer") })
    } else {
        Ok(())
    }
}
