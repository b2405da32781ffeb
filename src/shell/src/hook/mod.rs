//! The hooks that git starts before and after it stores a push. They are this program, started with `--hook NAME` by
//! the scripts in the settings' folder `hooks`.
//!
//! A repository's own hooks run after these, unless there is an operator's program for pushes.

mod post_receive;
mod pre_receive;
mod update;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use pushkeys_keys::ErrorReport;
use thiserror::Error;
use update::{ParseRefUpdateError, RefUpdate};

use crate::identity::VariableError;
use crate::process::relay;
use crate::push::{HookResult, Push};
use crate::record;
use crate::resources;
use crate::settings::{Settings, SettingsError};

/// The option that makes this program a hook.
pub(crate) const OPTION: &str = "--hook";
const PRE_RECEIVE: &str = "pre-receive";
const POST_RECEIVE: &str = "post-receive";
/// The hooks that every push needs.
const NEEDED: [&str; 2] = [PRE_RECEIVE, POST_RECEIVE];
/// Other hooks that git may start for a push. Starting them costs time for each reference, so git gets them only
/// if the repository has one.
const OTHERS: [&str; 4] = ["update", "post-update", "reference-transaction", "proc-receive"];
/// The subfolder of `hooks` that has those, too.
const ALL: &str = "all";

/// The longest list of changes of a push in bytes, far more than the limit of references allows.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a hook cannot run: an error of the host.
#[derive(Debug, Error)]
enum HookError {
    #[error("`{OPTION} {0}`: there is no such hook")]
    Unknown(String),
    #[error(transparent)]
    Variables(#[from] VariableError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Input(#[from] ParseRefUpdateError),
    #[error("the push changes too many references for a hook")]
    TooMany,
    #[error("cannot run a hook")]
    Io(#[from] io::Error),
}

/// The folder of the hooks that git has to start for a push to the repository in the current folder.
pub(crate) fn folder(settings: &Settings) -> PathBuf {
    let has_others = OTHERS.iter().any(|name| own_hook(name).is_some());
    if has_others && settings.deploy.is_none() { settings.hooks.join(ALL) } else { settings.hooks.clone() }
}

/// The programs in `folder` that every push needs.
pub(crate) fn programs(folder: &Path) -> impl Iterator<Item = PathBuf> {
    NEEDED.iter().map(|name| folder.join(name))
}

/// Runs the hook `name`. Its exit status decides whether git stores the push.
pub(crate) fn run(name: &OsStr) -> ExitCode {
    match serve(&name.to_string_lossy()) {
        Ok(status) => status,
        Err(error) => {
            record::error(&format!("hook: {}", ErrorReport::of(&error)));
            let report =
                ErrorReport::hinted("this host cannot accept a push at the moment", pre_receive::TRY_LATER);
            post_receive::say(&report.lines());
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str) -> Result<ExitCode, HookError> {
    let push = Push::from_variables()?;
    let settings = Settings::read(&push.config)?;
    let text = read_input()?;
    let updates = RefUpdate::parse_all(&text)?;
    match name {
        PRE_RECEIVE => {
            if let Err(refusal) = pre_receive::check(&settings, &push, &updates) {
                HookResult::Refused.report()?;
                // What caused it is not for the client.
                let report = ErrorReport { causes: Vec::new(), ..ErrorReport::of(&refusal) };
                post_receive::say(&report.within("this push is refused").lines());
                return Ok(ExitCode::FAILURE);
            }
        }
        POST_RECEIVE => {
            HookResult::Stored.report()?;
            post_receive::log(&push, &updates);
            post_receive::announce(&push, &updates)?;
            if let Some(deploy) = &settings.deploy {
                resources::lift()?;
                post_receive::deploy(deploy, &push, &updates)?;
            }
        }
        other => return Err(HookError::Unknown(other.to_owned())),
    }
    match own_hook(name) {
        Some(hook) if settings.deploy.is_none() => run_own(&hook, &text),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn read_input() -> Result<String, HookError> {
    let mut text = String::new();
    let bytes = io::stdin().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > INPUT_BYTES_MAX { Err(HookError::TooMany) } else { Ok(text) }
}

/// The hook `name` of the repository in the current folder, if it is executable.
fn own_hook(name: &str) -> Option<PathBuf> {
    let path = Path::new("hooks").join(name);
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(path)
}

fn run_own(hook: &Path, input: &str) -> Result<ExitCode, HookError> {
    resources::lift()?;
    let repository = env::current_dir()?;
    let mut command = Command::new(repository.join(hook));
    command.env("GIT_DIR", &repository);
    Push::hide_internals(&mut command);
    let ended = relay::run(&mut command, post_receive::memory_file(input.as_bytes())?)?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
