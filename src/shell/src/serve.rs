//! Serving git: from what a client asks for to the process that answers it.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use pushkeys_keys::AccountId;
use rustix::fs::Mode;

use crate::arguments::Arguments;
use crate::authorize::{self, Decision};
use crate::environment;
use crate::hook;
use crate::identity::Identity;
use crate::initialize;
use crate::process::descendants;
use crate::process::supervise::{self, Cut, Ending};
use crate::push::{HookResult, Push, Results};
use crate::refusal::Refusal;
use crate::remote::RemoteHost;
use crate::repository::{RelativePath, Repository, RepositoryError, Root};
use crate::request::{Access, GitCommand, RepositoryName, Service};
use crate::resources;
use crate::serve_error::ServeError;
use crate::sessions::{self, SessionSlot};
use crate::settings::{Create, Limits, Locate, Settings};
use crate::trusted;

/// New files are for the login and its group.
const UMASK: Mode = Mode::from_raw_mode(0o027);
/// What a shell gives for a program that a signal ended: this and the signal's number.
const SIGNALLED: i32 = 128;
/// The word for the log when git ended by itself.
const SERVED: &str = "served";

/// How a session with git ended.
#[derive(Debug)]
pub(crate) struct Served {
    /// One word for the log.
    pub(crate) word: &'static str,
    /// This process's own exit status.
    pub(crate) status: u8,
    /// What the client is told, if git does not say it.
    pub(crate) refusal: Option<Refusal>,
    /// Whether the session was ended before its time by that.
    pub(crate) is_cut: bool,
    /// The bytes that git moved, if the kernel counts them.
    pub(crate) traffic: Option<Traffic>,
}

/// Bytes that git and all it started have read and written, as the kernel counts them (proc(5), `io`): those of the
/// client, of the repository, and of pipes between processes. No byte passes through this process, which could count
/// the client's alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl Traffic {
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
    pub(crate) identity: &'a Identity,
    pub(crate) settings: &'a Settings,
    pub(crate) remote: &'a RemoteHost,
    pub(crate) command: &'a GitCommand,
    /// `GIT_PROTOCOL` as the client sent it.
    pub(crate) protocol: Option<&'a OsStr>,
}

impl Serve<'_> {
    /// Serves git until it ends, or until `revoked` gives a reason.
    pub(crate) fn run(&self, mut revoked: impl FnMut() -> Option<Refusal>) -> Result<Served, Refusal> {
        let Self { settings, command, .. } = self;
        let access = command.service.access();
        rustix::process::umask(UMASK);
        let path = self.path()?;
        let root = Root::open(&settings.root).map_err(cannot_serve)?;
        let _slot = self.slot(&root)?;
        let repository = self.repository(&root, &path)?;
        repository.enter().map_err(cannot_serve)?;
        let hooks = hook::folder(settings);
        if access == Access::Write {
            self.check_programs(&hooks)?;
        }
        resources::limit(&settings.limits).map_err(|error| cannot_serve(ServeError::Run(error)))?;
        let results = Results::new().map_err(|error| cannot_serve(ServeError::Run(error)))?;
        let mut git = self.git(&path, &hooks, &results)?;
        let mut idle = IdleWatch::new(&settings.limits);
        let ending = supervise::run(&mut git, || revoked().or_else(|| idle.check()))
            .map_err(|error| cannot_serve(ServeError::Run(error)))?;
        if access == Access::Write {
            // What is left of a push that stored nothing is of no use. It can stay if it cannot be removed.
            let _ = root.discard(&path, &repository, |_| initialize::is_empty());
        }
        let served = Served { traffic: Traffic::so_far(), ..Served::of(ending) };
        let is_push = access == Access::Write && served.word == SERVED && served.status == 0;
        Ok(if is_push { served.of_push(&results.read(), settings) } else { served })
    }

    /// Checks what a push starts, so that none is stored and then not deployed.
    fn check_programs(&self, hooks: &Path) -> Result<(), Refusal> {
        let program = self.settings.deploy.iter().map(|deploy| deploy.program.clone());
        hook::programs(hooks)
            .chain(program)
            .try_for_each(|path| trusted::check_program(&path))
            .map_err(cannot_serve)
    }

    fn slot(&self, root: &Root) -> Result<Option<SessionSlot>, Refusal> {
        let Some(max) = self.settings.limits.sessions else { return Ok(None) };
        match sessions::take(root, &self.identity.account, max).map_err(cannot_serve)? {
            Some(slot) => Ok(Some(slot)),
            None => Err(Refusal::TooManySessions { account: self.identity.account().to_owned(), max }),
        }
    }

    /// The repository that is asked for. A push gets one that is made for it, where that is set.
    fn repository(&self, root: &Root, path: &RelativePath) -> Result<Repository, Refusal> {
        let Self { settings, identity, command, .. } = self;
        let failed = |error| match error {
            ServeError::Repository(RepositoryError::Nested(_)) => Refusal::Nested(command.repository.clone()),
            ServeError::Repository(RepositoryError::Occupied(_)) => {
                Refusal::Folder(command.repository.clone())
            }
            error => Refusal::CannotServe(error),
        };
        if let Some(repository) = root.repository(path).map_err(|error| failed(error.into()))? {
            return Ok(repository);
        }
        let repository = command.repository.clone();
        let access = command.service.access();
        if access == Access::Write && settings.create == Create::FirstPush {
            let account = identity.account();
            if let Some(max) = settings.limits.repositories
                && repositories_of(root, settings, &identity.account, max as usize).len() >= max as usize
            {
                return Err(Refusal::TooManyRepositories { repository, account: account.to_owned(), max });
            }
            return root.repository_to_write(path, initialize::repository).map_err(failed);
        }
        let is_by_account =
            matches!(&settings.locate, Locate::Template(template) if template.is_by_account());
        let owner = if is_by_account { format!("{} has", identity.account()) } else { "there is".to_owned() };
        Err(Refusal::NoRepository { repository, owner, access })
    }

    /// Where the repository is, if this account may have it.
    fn path(&self) -> Result<RelativePath, Refusal> {
        let Self { settings, arguments, identity, command: GitCommand { service, repository }, .. } = self;
        let access = service.access();
        let path = match &settings.locate {
            Locate::Template(template) => template.expand(&identity.account, repository),
            Locate::Program { path, limit } => {
                match authorize::ask(path, *limit, arguments, repository, access) {
                    Ok(Decision::Yes(path)) => path,
                    Ok(Decision::No(reason)) => {
                        let (repository, account) = (repository.clone(), identity.account().to_owned());
                        return Err(Refusal::NotAllowed { repository, account, access, reason });
                    }
                    Err(source) => {
                        return Err(Refusal::NotDecided { repository: repository.clone(), access, source });
                    }
                }
            }
        };
        RelativePath::parse(&path, &settings.root)
            .ok_or_else(|| cannot_serve(ServeError::Path { path, root: settings.root.clone() }))
    }

    /// git, ready to be started in the repository that is this process's folder.
    fn git(&self, path: &RelativePath, hooks: &Path, results: &Results) -> Result<Command, Refusal> {
        let Self { settings, arguments, identity, remote, command, protocol } = self;
        let push = Push {
            identity: (*identity).clone(),
            repository: command.repository.clone(),
            path: path.as_path().to_owned(),
            url: remote.url(&identity.login, &command.repository),
            config: arguments.settings.clone(),
            cache: arguments.cache.clone(),
        };
        let mut git = Command::new("git");
        git.arg(command.service.verb());
        if command.service == Service::UploadPack {
            git.arg("--strict");
        }
        git.arg(".");
        environment::set_for_git(&mut git, settings, hooks, &push, *protocol);
        if command.service.access() == Access::Write {
            push.set_for_hooks(&mut git, results).map_err(|error| cannot_serve(ServeError::Run(error)))?;
        }
        Ok(git)
    }
}

/// The repositories of `account` by name, up to `count_max`, if their paths say which they are.
pub(crate) fn repositories_of(
    root: &Root,
    settings: &Settings,
    account: &AccountId,
    count_max: usize,
) -> Vec<RepositoryName> {
    let Locate::Template(template) = &settings.locate else { return Vec::new() };
    let Some(folder) = template.account_folder(account) else { return Vec::new() };
    let paths = root.repositories_below(&folder, count_max);
    paths.iter().filter_map(|path| template.name_of(account, path)).collect()
}

/// Notices when no process of a session reads or writes anything.
struct IdleWatch {
    limit_s: Option<u32>,
    bytes: u64,
    since: Instant,
}

impl IdleWatch {
    fn new(limits: &Limits) -> Self {
        Self { limit_s: limits.idle_s, bytes: 0, since: Instant::now() }
    }

    /// Why the session ends, if it was idle for too long.
    fn check(&mut self) -> Option<Refusal> {
        let limit_s = self.limit_s?;
        let bytes = descendants::bytes_moved();
        if bytes != self.bytes {
            self.bytes = bytes;
            self.since = Instant::now();
        }
        (self.since.elapsed().as_secs() >= u64::from(limit_s)).then_some(Refusal::Idle(limit_s))
    }
}

impl Served {
    fn of(ending: Ending<Refusal>) -> Self {
        let status = ending.status.map_or(1, exit_status);
        let ended = |word, status| Self { word, status, refusal: None, is_cut: false, traffic: None };
        match ending.cut {
            None => ended(SERVED, status),
            // git succeeded, whatever happened in the same moment.
            Some(_) if status == 0 => ended(SERVED, status),
            Some(Cut::Refused(refusal)) => {
                let word = refusal.word();
                Self { refusal: Some(refusal), is_cut: true, ..ended(word, 1) }
            }
            Some(Cut::Signal(_)) => ended("ended-by-signal", status),
            Some(Cut::ClientLeft) => ended("client-left", status),
        }
    }

    /// The same for a push whose git succeeded, which it also does when it stores nothing.
    fn of_push(self, results: &[HookResult], settings: &Settings) -> Self {
        let is_required = settings.deploy.as_ref().is_some_and(|deploy| deploy.required);
        let read_bytes = self.traffic.map_or(0, |traffic| traffic.read_bytes);
        if results.contains(&HookResult::Refused) {
            Self { word: "push-refused", ..self }
        } else if results.contains(&HookResult::DeployFailed) {
            Self { word: "deploy-failed", status: u8::from(is_required), ..self }
        } else if let Some(max) =
            settings.limits.push_bytes.filter(|&max| results.is_empty() && read_bytes >= max)
        {
            // git has said that the pack is too large, and not what is accepted.
            let refusal = Refusal::PushTooLarge { max_mib: max >> 20 };
            Self { word: refusal.word(), status: 1, refusal: Some(refusal), ..self }
        } else {
            self
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
        let traffic = Traffic::parse("rchar: 6976\nwchar: 12\nsyscr: 10\nread_bytes: 4096\n").unwrap();
        assert_eq!((traffic.read_bytes, traffic.written_bytes), (6976, 12));
        assert!(Traffic::parse("rchar: 6976\n").is_none());
        assert!(Traffic::so_far().unwrap().read_bytes > 0);
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
        check(success, Some(Cut::Refused(Refusal::Removed)), ("served", 0));
        check(killed, Some(Cut::Refused(Refusal::Removed)), ("key-removed", 1));
        check(None, Some(Cut::Refused(Refusal::Removed)), ("key-removed", 1));
        check(success, Some(Cut::ClientLeft), ("served", 0));
        check(killed, Some(Cut::ClientLeft), ("client-left", 137));
        check(None, Some(Cut::ClientLeft), ("client-left", 1));
        check(Some(15), Some(Cut::Signal(Signal::TERM)), ("ended-by-signal", 143));
    }
}
