//! Other programs, run to their end within bounds of time and output.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;

/// No program that is run here takes seconds, unless something hangs.
const DURATION_MAX: Duration = Duration::from_secs(30);
/// What a program says is read up to this size, each of stdout and stderr.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(2);

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a program could not be run to its end.
#[derive(Debug, Error)]
pub(crate) enum ProgramError {
    #[error("cannot start `{program}`")]
    Start { program: String, source: io::Error },
    #[error("`{program}` did not end within {} s", DURATION_MAX.as_secs())]
    TooSlow { program: String },
}

/// A command that runs as `user` with the groups that user has, in an environment of nothing but `PATH`, if this
/// process is root; otherwise as this process's user.
pub(crate) fn as_user(user: &str, program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command
}

/// Whether this process may change its user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Result<Finished, ProgramError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = |source| ProgramError::Start { program: program.clone(), source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(started)?;
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let Some(status) = wait(&mut child).map_err(started)? else {
        // It is killed, and what it printed is not waited for: a child of its own may hold the pipe.
        let _ = child.kill();
        let _ = child.wait();
        return Err(ProgramError::TooSlow { program });
    };
    Ok(Finished { status, stdout: text(stdout), stderr: text(stderr) })
}

impl Finished {
    /// How it ended, in words.
    pub(crate) fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        }
    }
}

fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + DURATION_MAX;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(PAUSE);
    }
    Ok(None)
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is all there is to show.
            let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        }
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}
