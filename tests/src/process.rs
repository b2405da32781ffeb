//! Background processes, and programs that run to completion.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::{PATIENCE, eventually};

/// Most programs take some milliseconds.
const PAUSE: Duration = Duration::from_millis(1);

static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A running program with its output in a file. [`as_user`](crate::as_user) makes commands that die with the test in any
/// case.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in its own process group, and appends its output to `log`.
    #[must_use]
    pub fn spawn(name: &str, command: Command, log: &Path) -> Self {
        Self::spawn_with_input(name, command, Stdio::null(), log)
    }

    /// The same with a standard input.
    #[must_use]
    pub fn spawn_with_input(name: &str, mut command: Command, input: impl Into<Stdio>, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("own log file");
        command.stdin(input).stdout(output.try_clone().expect("a descriptor")).stderr(output);
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        running().push(pid_of(&child));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The output of this process and its predecessors with the same log file.
    #[must_use]
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child")
    }

    /// Sends `signal` to this process only.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(pid_of(&self.child), signal);
    }

    /// Sends SIGTERM, like a service manager, and waits until the process has ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let what = format!("{} ends after SIGTERM", self.name);
        eventually(&what, || self.ended())
    }

    /// Kills the process and its children with SIGKILL.
    pub fn kill(&mut self) {
        let pid = pid_of(&self.child);
        running().retain(|running| *running != pid);
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}--- end of log ---", self.name, self.log());
        }
    }
}

/// A daemon, running or not, whose runs all log to one file.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    log: PathBuf,
    process: Option<Process>,
}

impl Daemon {
    /// A daemon that is not running yet.
    pub(crate) fn new(name: &'static str, log: PathBuf) -> Self {
        Self { name, log, process: None }
    }

    /// Starts `command`.
    pub(crate) fn start(&mut self, command: Command) -> &mut Process {
        self.process.insert(Process::spawn(self.name, command, &self.log))
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.ended()
    }

    /// Stops it like a service manager.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.stop();
            assert!(status.success(), "{}: {status}", self.name);
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Suspends it, like a machine that hangs, until [`Daemon::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGTERM without waiting.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Its process id.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} is running", self.name)).pid()
    }

    /// Its log, including earlier runs.
    pub(crate) fn log(&self) -> String {
        text_of(&self.log)
    }
}

/// The process groups that were started and not killed.
fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all processes of this one, which is about to exit without dropping them.
pub(crate) fn kill_all() {
    for pid in running().drain(..) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// The result of a program.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Panics unless the program succeeded; returns its standard output.
    #[track_caller]
    #[must_use]
    pub fn output(self) -> String {
        assert!(self.status.success(), "{}: {}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `command` to completion, within [`PATIENCE`].
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    run_within(command, PATIENCE)
}

/// Runs `command` to completion; panics after `limit`.
#[track_caller]
pub fn run_within(command: &mut Command, limit: Duration) -> Finished {
    try_run_within(command, limit).unwrap_or_else(|late| panic!("{late}"))
}

/// Runs `command` to completion; kills it after `limit`, and returns its output as the error.
#[track_caller]
pub fn try_run_within(command: &mut Command, limit: Duration) -> Result<Finished, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Files take any amount of output without a reader.
    let (mut stdout, mut stderr) = (temporary_file(), temporary_file());
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone().expect("a descriptor"));
    command.stderr(stderr.try_clone().expect("a descriptor"));
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{program}`: {error}"));
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("own child") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            let printed = format!("{}{}", text(&mut stdout), text(&mut stderr));
            return Err(format!("`{program}` took more than {limit:?}: {printed}"));
        }
        thread::sleep(PAUSE);
    };
    Ok(Finished { status, stdout: text(&mut stdout), stderr: text(&mut stderr) })
}

fn temporary_file() -> File {
    tempfile::tempfile().expect("room for temporary files")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().expect("own file");
    file.read_to_end(&mut bytes).expect("own file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text of the file `log`, which may not exist yet.
fn text_of(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
