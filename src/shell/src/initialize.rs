//! Making a repository for its first push.

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
/// Each of the three steps to a branch reads or writes one.
const BRANCH_LIMIT: Duration = Duration::from_secs(2);

// The client is not watched meanwhile.
const _: () = assert!(AUTHORIZE_LIMIT_S_MAX + INITIALIZE_LIMIT.as_secs() < OUTLIVES_CLIENT_MAX.as_secs());
const _: () = assert!(BRANCH_LIMIT.as_secs() * 3 < OUTLIVES_CLIENT_MAX.as_secs());

/// Makes `repository`, an empty folder, a repository that has no branch yet.
pub(crate) fn repository(repository: &Repository) -> Result<(), ServeError> {
    repository.enter()?;
    let finished = git(&["init", "--quiet", "--bare", "."], INITIALIZE_LIMIT)?;
    if finished.status.success() { Ok(()) } else { Err(ServeError::Initialized(finished.status)) }
}

/// Points the `HEAD` of the repository in this process's folder to a branch that was pushed, unless it points to one
/// already: a clone would check nothing out.
pub(crate) fn follow_first_branch() -> Result<(), ServeError> {
    if git(&["rev-parse", "--quiet", "--verify", "HEAD"], BRANCH_LIMIT)?.status.success() {
        return Ok(());
    }
    let branches = git(&["for-each-ref", "--count=1", "--format=%(refname)", "refs/heads/"], BRANCH_LIMIT)?;
    let branch = String::from_utf8_lossy(&branches.stdout);
    // A full name begins with `refs/`, so it is never taken for an option.
    if branch.starts_with("refs/heads/") {
        git(&["symbolic-ref", "HEAD", branch.trim_end()], BRANCH_LIMIT)?;
    }
    Ok(())
}

fn git(arguments: &[&str], limit: Duration) -> Result<Finished, ServeError> {
    let mut git = Command::new("git");
    git.args(arguments);
    environment::clear(&mut git);
    Ok(program::run(&mut git, limit)?)
}
