//! After a push is stored: logs it, announces a new repository, and runs the operator's program.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::process::{Command, ExitStatus};

use rustix::fs::{MemfdFlags, memfd_create};

use super::update::RefUpdate;
use crate::environment;
use crate::initialize;
use crate::process::relay;
use crate::push::{HookResult, Push};
use crate::record;
use crate::repository;
use crate::settings::{Deploy, DeployedBranch};

/// The maximum number of references of a push that are logged individually.
const LOGGED_MAX: usize = 100;
/// The maximum number of branches in a message.
const NAMED_MAX: usize = 3;

/// Logs each of `updates`.
pub(crate) fn log(push: &Push, updates: &[RefUpdate]) {
    let begin = format!("push {}{}", push.identity.ids(), push.identity.details());
    let path = push.path.display();
    for RefUpdate { old, new, name } in updates.iter().take(LOGGED_MAX) {
        let line =
            format!("{begin} repository={} path={path} old={old} new={new} ref={name}", push.repository);
        record::keep(&push.cache, &line, false);
    }
    if let Some(more) = updates.len().checked_sub(LOGGED_MAX).filter(|&more| more > 0) {
        record::keep(
            &push.cache,
            &format!("{begin} repository={} path={path} more={more}", push.repository),
            false,
        );
    }
}

/// Makes the repository in the current folder visible to readers if this is its first push, and prints its URL.
pub(crate) fn announce(push: &Push, updates: &[RefUpdate]) -> io::Result<()> {
    if repository::is_provisional() {
        if let Some(branch) = first_branch(updates) {
            // If this fails, a clone checks nothing out.
            let _ = initialize::point_head_to(branch);
        }
        if repository::confirm()? {
            say(&format!(
                "created the repository `{}` of {}: {}",
                push.repository,
                push.identity.account(),
                push.url
            ));
        }
    }
    Ok(())
}

/// The branch that a clone checks out: `main`, `master` or the first one.
fn first_branch(updates: &[RefUpdate]) -> Option<&str> {
    let branches = || updates.iter().filter(|update| !update.is_deletion()).filter_map(RefUpdate::branch);
    let called = |name| branches().find(|branch| *branch == name);
    called("main").or_else(|| called("master")).or_else(|| branches().next())
}

/// Runs the operator's program for `updates` that it is configured for, and prints whether it failed.
pub(crate) fn deploy(deploy: &Deploy, push: &Push, updates: &[RefUpdate]) -> io::Result<()> {
    let (deployed, others): (Vec<&RefUpdate>, Vec<&RefUpdate>) =
        updates.iter().partition(|update| deploy.branch.includes(update));
    if let DeployedBranch::Named(branch) = &deploy.branch
        && deployed.is_empty()
    {
        say_not_deployed(branch, &others);
        return Ok(());
    }
    let mut program = Command::new(&deploy.program);
    environment::set_for_program(&mut program, push)?;
    let mut input = push.to_json() + "\n";
    for RefUpdate { old, new, name } in deployed {
        input.extend([old, " ", new, " ", name, "\n"]);
    }
    let ended = memory_file(input.as_bytes()).and_then(|input| relay::run(&mut program, input));
    let why = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => ended_with(status),
        Err(error) => format!("could not be started: {error}"),
    };
    say(&format!("your push is stored, and was not deployed: the host's program {why}"));
    if deploy.required {
        say("so this push counts as failed; to deploy again: git commit --allow-empty, and push");
    }
    HookResult::DeployFailed.report()
}

/// A file in memory with the contents `bytes`.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Prints `text` for the pusher.
pub(crate) fn say(text: &str) {
    // The client may have disconnected, which is no error.
    let _ = writeln!(io::stderr(), "pushkeys: {text}");
}

fn say_not_deployed(branch: &str, others: &[&RefUpdate]) {
    let mut branches = others.iter().filter_map(|update| update.branch());
    let named: Vec<String> = branches.by_ref().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    if named.is_empty() {
        return;
    }
    let more = match branches.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    say(&format!("{}{more}: stored, and not deployed; this host deploys `{branch}`", named.join(", ")));
}

fn ended_with(status: ExitStatus) -> String {
    status.code().map_or_else(|| format!("ended with {status}"), |code| format!("ended with status {code}"))
}

impl DeployedBranch {
    fn includes(&self, update: &RefUpdate) -> bool {
        match self {
            Self::All => true,
            Self::Named(branch) => update.branch() == Some(branch),
        }
    }
}
