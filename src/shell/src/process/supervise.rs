//! Supervises git, which uses the session's own standard streams and ends with the session.
//!
//! This process stays git's parent and sleeps. It wakes up when git ends, when a signal asks it to end, when the client has
//! disconnected, and twice a second to check that the key is still valid.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::descendants;
use super::program::wait;
use super::signals::Signals;

/// How often the key is looked up, so that a session ends within a second of the key's removal.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// git notices at its next read or write that the client has disconnected. A hook may not.
const AFTER_CLIENT: Duration = Duration::from_secs(3);
/// How long a process that was asked to end may take to remove its temporary files.
const AFTER_ASKING: Duration = Duration::from_secs(2);
/// How long to wait after SIGKILL: a process that waits for a failed disk does not end.
const AFTER_KILLING: Duration = Duration::from_secs(1);

/// The maximum time for which a child may outlive its client.
pub(crate) const OUTLIVES_CLIENT_MAX: Duration = Duration::from_secs(10);
const _: () = assert!(
    AFTER_CLIENT.as_millis() + AFTER_ASKING.as_millis() + AFTER_KILLING.as_millis()
        < OUTLIVES_CLIENT_MAX.as_millis()
);
const _: () = assert!(CHECK_EVERY.as_millis() * 2 <= 1000);

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ending<R> {
    /// `None` if it was still running after SIGKILL.
    pub(crate) status: Option<ExitStatus>,
    /// Why it was ended, if it was.
    pub(crate) reason: Option<EndReason<R>>,
}

/// Why a process was ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EndReason<R> {
    /// The session may not go on, because its key is no longer valid or a limit is reached.
    Refused(R),
    /// The client has disconnected.
    ClientLeft,
    /// This process was asked to end.
    Signal(Signal),
}

/// The stage of ending a process, with its time limit.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It runs, without a limit.
    Serving,
    /// The client has disconnected.
    Left(Instant),
    /// It was asked to end.
    Asked(Instant),
    /// It was killed.
    Killed(Instant),
}

/// Runs `command` with this process's own standard streams until it ends, or until `refused` returns a reason. All its
/// descendants are ended afterwards.
pub(crate) fn run<R>(command: &mut Command, refused: impl FnMut() -> Option<R>) -> io::Result<Ending<R>> {
    descendants::adopt();
    let mut child = command.process_group(0).spawn()?;
    let watched = Watched::new(&child);
    let ended = watched
        .and_then(|watched| Supervisor { watched, refused, reason: None, stage: Stage::Serving }.watch());
    let group = Pid::from_child(&child);
    // The child is not reaped yet, so its group's id is not reused.
    let stray = if matches!(ended, Ok((None, _))) { Signal::TERM } else { Signal::KILL };
    let _ = kill_process_group(group, stray);
    let (reason, has_ended) = ended?;
    let status = if has_ended { Some(child.wait()?) } else { None };
    descendants::end_all(AFTER_KILLING);
    Ok(Ending { status, reason })
}

/// The descriptors to wait for.
struct Watched {
    group: Pid,
    exit: OwnedFd,
    signals: Signals,
}

/// The events of one wait.
#[derive(Default)]
struct Events {
    has_ended: bool,
    has_no_client: bool,
    signal: Option<Signal>,
}

struct Supervisor<R, F> {
    watched: Watched,
    refused: F,
    reason: Option<EndReason<R>>,
    stage: Stage,
}

impl Watched {
    fn new(child: &Child) -> io::Result<Self> {
        let group = Pid::from_child(child);
        Ok(Self { group, exit: pidfd_open(group, PidfdFlags::empty())?, signals: Signals::hold()? })
    }

    /// Waits for events for at most `limit`; whether the client has gone is checked only `with_client`, since it stays true.
    fn next(&self, limit: Duration, with_client: bool) -> io::Result<Events> {
        let stdout = rustix::stdio::stdout();
        let mut polled =
            vec![PollFd::new(&self.exit, PollFlags::IN), PollFd::new(self.signals.fd(), PollFlags::IN)];
        if with_client {
            // An error or a hang-up is always reported. A client that only closed its own input causes neither.
            polled.push(PollFd::from_borrowed_fd(stdout, PollFlags::empty()));
        }
        wait(&mut polled, limit)?;
        let mut happened = polled.iter().map(|one| !one.revents().is_empty());
        let mut next = || happened.next().unwrap_or_default();
        let (has_ended, has_signal, has_no_client) = (next(), next(), next());
        let signal = if has_signal { self.signals.next() } else { None };
        Ok(Events { has_ended, has_no_client, signal })
    }
}

impl<R, F: FnMut() -> Option<R>> Supervisor<R, F> {
    /// Waits for the process. Returns why it was ended, and whether it has ended.
    fn watch(mut self) -> io::Result<(Option<EndReason<R>>, bool)> {
        let mut next_check = Instant::now() + CHECK_EVERY;
        loop {
            let limit = self.stage.end().unwrap_or(next_check).saturating_duration_since(Instant::now());
            let events = self.watched.next(limit, matches!(self.stage, Stage::Serving))?;
            if events.has_ended {
                return Ok((self.reason, true));
            }
            if let Some(signal) = events.signal {
                self.ask(EndReason::Signal(signal), signal);
            } else if events.has_no_client {
                self.reason = Some(EndReason::ClientLeft);
                self.stage = Stage::Left(Instant::now() + AFTER_CLIENT);
            } else if self.stage.end().is_some_and(|end| end <= Instant::now()) {
                match self.stage {
                    Stage::Serving => {}
                    Stage::Left(_) => self.ask(EndReason::ClientLeft, Signal::TERM),
                    Stage::Asked(_) => self.kill(),
                    Stage::Killed(_) => return Ok((self.reason, false)),
                }
            } else if matches!(self.stage, Stage::Serving) && next_check <= Instant::now() {
                if let Some(reason) = (self.refused)() {
                    self.ask(EndReason::Refused(reason), Signal::TERM);
                }
                next_check = Instant::now() + CHECK_EVERY;
            }
        }
    }

    fn ask(&mut self, reason: EndReason<R>, signal: Signal) {
        let _ = kill_process_group(self.watched.group, signal);
        self.reason.get_or_insert(reason);
        if !matches!(self.stage, Stage::Asked(_) | Stage::Killed(_)) {
            self.stage = Stage::Asked(Instant::now() + AFTER_ASKING);
        }
    }

    fn kill(&mut self) {
        let _ = kill_process_group(self.watched.group, Signal::KILL);
        self.stage = Stage::Killed(Instant::now() + AFTER_KILLING);
    }
}

impl Stage {
    fn end(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Left(end) | Self::Asked(end) | Self::Killed(end) => Some(end),
        }
    }
}
