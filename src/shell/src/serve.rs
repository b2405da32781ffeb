//! Serving git: from what a client asks for to the process that answers it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use pushkeys_cache::Entry;
use rustix::fs::Mode;

use crate::arguments::Arguments;
use crate::authorize::{self, Decision};
use crate::environment;
use crate::initialize;
use crate::process::supervise::{self, Cut, Ending};
use crate::refusal::Refusal;
use crate::repository::{RelativePath, Repository, Root};
use crate::request::{Access, GitCommand, Service};
use crate::serve_error::ServeError;
use crate::settings::{Create, Locate, Settings, SettingsError};
use crate::trusted;

/// New files are for the login and its group.
const UMASK: Mode = Mode::from_raw_mode(0o027);
/// The hook in `deploy.hooks` that git starts after a push.
const HOOK: &str = "post-receive";
/// What a shell gives for a program that a signal ended: this and the signal's number.
const SIGNALLED: i32 = 128;

/// How a session with git ended.
#[derive(Debug)]
pub(crate) struct Served {
    /// One word for the log.
    pub(crate) word: &'static str,
    /// This process's own exit status.
    pub(crate) status: u8,
    /// What the client is told of an end before its time.
    pub(crate) revoked: Option<Refusal>,
    /// What git moved, if the kernel counts it.
    pub(crate) moved: Option<Moved>,
}

/// Bytes that git and all it started have read and written, as the kernel counts them (proc(5), `io`): those of the
/// client, of the repository, and of pipes between processes. No byte passes through this process, which could count
/// the client's alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl Moved {
    /// What this process and all that it has waited for have moved.
    fn so_far() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/io").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.next()?.parse().ok()
        };
        Some(Self { read_bytes: number("rchar")?, written_bytes: number("wchar")? })
    }
}

/// A session's request for git, after its key was checked.
pub(crate) struct Serve<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) entry: &'a Entry,
    pub(crate) command: &'a GitCommand,
    /// `GIT_PROTOCOL` as the client wishes it.
    pub(crate) protocol: Option<OsString>,
}

impl Serve<'_> {
    /// Serves git until it ends, or until `revoked` gives a reason.
    pub(crate) fn run(&self, revoked: impl FnMut() -> Option<Refusal>) -> Result<Served, Refusal> {
        let settings = Settings::read(&self.arguments.settings).map_err(|error| match error {
            SettingsError::Missing(_) => Refusal::NotSetUp(error),
            error => cannot_serve(error),
        })?;
        if let Some(deploy) = &settings.deploy {
            trusted::check_program(&deploy.program).map_err(cannot_serve)?;
            trusted::check_program(&deploy.hooks.join(HOOK)).map_err(cannot_serve)?;
        }
        rustix::process::umask(UMASK);
        let (repository, is_new) = self.repository(&settings)?;
        repository.enter().map_err(cannot_serve)?;
        let mut git = Command::new("git");
        git.arg(self.command.service.verb());
        if self.command.service == Service::UploadPack {
            git.arg("--strict");
        }
        git.arg(".");
        let protocol = self.protocol.as_deref();
        environment::set_for_git(&mut git, &settings, self.arguments, self.entry, self.command, protocol);
        let ending =
            supervise::run(&mut git, revoked).map_err(|error| cannot_serve(ServeError::Run(error)))?;
        let served = Served { moved: Moved::so_far(), ..Served::of(ending) };
        if is_new && served.status == 0 {
            // What was pushed is there; a clone only has to name its branch.
            let _ = initialize::follow_first_branch();
        }
        Ok(served)
    }

    /// The repository that is asked for, and whether it had to be made and was allowed to.
    fn repository(&self, settings: &Settings) -> Result<(Repository, bool), Refusal> {
        let path = self.path(settings)?;
        let root = Root::open(&settings.root).map_err(cannot_serve)?;
        if let Some(repository) =
            root.repository(&path).map_err(cannot_serve)?.filter(Repository::is_initialized)
        {
            return Ok((repository, false));
        }
        let is_created_by_push = settings.create == Create::FirstPush;
        if is_created_by_push && self.command.service.access() == Access::Write {
            let made = root.create(&path, initialize::repository).map_err(cannot_serve::<ServeError>)?;
            return Ok((made, true));
        }
        Err(Refusal::NoRepository { repository: self.command.repository.clone(), is_created_by_push })
    }

    /// Where the repository is, if this account may have it.
    fn path(&self, settings: &Settings) -> Result<RelativePath, Refusal> {
        let GitCommand { service, repository } = self.command;
        let path = match &settings.locate {
            Locate::Template(template) => template.expand(&self.arguments.account, repository),
            Locate::Program { path, limit } => {
                match authorize::ask(path, *limit, self.arguments, repository, service.access()) {
                    Ok(Decision::Yes(path)) => path,
                    Ok(Decision::No(reason)) => {
                        return Err(Refusal::NotAllowed { repository: repository.clone(), reason });
                    }
                    Err(source) => {
                        return Err(Refusal::NotDecided { repository: repository.clone(), source });
                    }
                }
            }
        };
        RelativePath::parse(&path, &settings.root)
            .ok_or_else(|| cannot_serve(ServeError::Path { path, root: settings.root.clone() }))
    }
}

impl Served {
    fn of(ending: Ending<Refusal>) -> Self {
        let status = ending.status.map_or(1, exit_status);
        let ended = |word, status| Self { word, status, revoked: None, moved: None };
        match ending.cut {
            None => ended("served", status),
            // Whoever has everything has been served, whatever happened in the same moment.
            Some(_) if status == 0 => ended("served", status),
            Some(Cut::Revoked(refusal)) => {
                let word = refusal.word();
                Self { revoked: Some(refusal), ..ended(word, 1) }
            }
            Some(Cut::Signal(_)) => ended("ended-by-signal", status),
            Some(Cut::ClientLeft) => ended("client-left", status),
        }
    }
}

/// The exit status that says the same as `status`.
fn exit_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn cannot_serve<E: Into<ServeError>>(error: E) -> Refusal {
    Refusal::CannotServe(error.into())
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn what_git_moved_is_read_as_the_kernel_prints_it() {
        let moved = Moved::parse("rchar: 6976\nwchar: 12\nsyscr: 10\nread_bytes: 4096\n").unwrap();
        assert_eq!((moved.read_bytes, moved.written_bytes), (6976, 12));
        assert!(Moved::parse("rchar: 6976\n").is_none());
        assert!(Moved::so_far().unwrap().read_bytes > 0);
    }

    #[test]
    fn a_session_says_how_git_ended() {
        let check = |raw: Option<i32>, cut: Option<Cut<Refusal>>, expected: (&str, u8)| {
            let served = Served::of(Ending { status: raw.map(ExitStatus::from_raw), cut });
            assert_eq!((served.word, served.status), expected);
        };
        let (success, failure, killed) = (Some(0), Some(128 << 8), Some(9));
        check(success, None, ("served", 0));
        check(failure, None, ("served", 128));
        check(killed, None, ("served", 137));
        check(success, Some(Cut::Revoked(Refusal::Removed)), ("served", 0));
        check(killed, Some(Cut::Revoked(Refusal::Removed)), ("key-removed", 1));
        check(None, Some(Cut::Revoked(Refusal::Removed)), ("key-removed", 1));
        check(success, Some(Cut::ClientLeft), ("served", 0));
        check(killed, Some(Cut::ClientLeft), ("client-left", 137));
        check(None, Some(Cut::ClientLeft), ("client-left", 1));
        check(Some(15), Some(Cut::Signal(Signal::TERM)), ("ended-by-signal", 143));
    }
}
