//! Creates a repository for its first push.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::environment;
use crate::process::program::{self, Finished};
use crate::process::supervise::OUTLIVES_CLIENT_MAX;
use crate::repository::Repository;
use crate::serve_error::ServeError;
use crate::settings::AUTHORIZE_LIMIT_S_MAX;

/// `git init` copies a few small files.
const INITIALIZE_LIMIT: Duration = Duration::from_secs(4);
/// The folder in which servers of Git LFS over ssh store files.
const LFS_FOLDER: &str = "lfs";
/// For git commands that read or write one reference.
const GIT_LIMIT: Duration = Duration::from_secs(2);

// The client is not watched during these calls.
const _: () = assert!(AUTHORIZE_LIMIT_S_MAX + INITIALIZE_LIMIT.as_secs() < OUTLIVES_CLIENT_MAX.as_secs());
const _: () = assert!(GIT_LIMIT.as_secs() < OUTLIVES_CLIENT_MAX.as_secs());

/// Initialises `repository`, an empty folder, as a bare repository.
pub(crate) fn repository(repository: &Repository) -> Result<(), ServeError> {
    repository.enter()?;
    // Sample hooks of a template would waste disk space.
    let finished = git(&["init", "--quiet", "--bare", "--template=", "."], INITIALIZE_LIMIT)?;
    if finished.status.success() { Ok(()) } else { Err(ServeError::Initialized(finished.status)) }
}

/// Points `HEAD` of the repository in the current folder to `branch`, so that a clone checks it out.
pub(crate) fn point_head_to(branch: &str) -> Result<(), ServeError> {
    // A full name begins with `refs/`, so it is never taken for an option.
    git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], GIT_LIMIT).map(drop)
}

/// Whether the repository in the current folder has no reference and no files of Git LFS.
pub(crate) fn is_empty() -> Result<bool, ServeError> {
    let listed = git(&["for-each-ref", "--count=1"], GIT_LIMIT)?;
    Ok(listed.status.success() && listed.stdout.is_empty() && !Path::new(LFS_FOLDER).exists())
}

fn git(arguments: &[&str], limit: Duration) -> Result<Finished, ServeError> {
    let mut git = Command::new("git");
    git.args(arguments);
    environment::clear(&mut git);
    Ok(program::run(&mut git, limit)?)
}
