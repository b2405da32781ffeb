//! Runs programs with limits of time and output: the operator's, and short git commands.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use thiserror::Error;

/// The default limit of output on each stream, in bytes. A longer output is an error.
const OUTPUT_BYTES_MAX: usize = 4096;
/// The size of a read.
const PIECE_BYTES: usize = 4096;

/// Exit status and output of a program.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why a program has no result.
#[derive(Debug, Error)]
pub(crate) enum ProgramError {
    #[error("cannot run `{program}`")]
    Run { program: String, source: io::Error },
    #[error("`{program}` took more than {} ms", limit.as_millis())]
    TimedOut { program: String, limit: Duration },
    #[error("`{program}` printed more than {output_max} bytes")]
    TooMuch { program: String, output_max: usize },
}

/// One of the two streams, and the bytes read from it.
struct Stream<R> {
    reader: Option<R>,
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// The result of reading a program's streams.
enum Collected {
    Whole,
    TimedOut,
    TooMuch,
}

/// Runs `command` without input. All processes of its group are killed afterwards.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Finished, ProgramError> {
    run_with_output(command, limit, OUTPUT_BYTES_MAX)
}

/// Like [`run`], for a program with up to `output_max` bytes of output on each stream.
pub(crate) fn run_with_output(
    command: &mut Command,
    limit: Duration,
    output_max: usize,
) -> Result<Finished, ProgramError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| ProgramError::Run { program: program.clone(), source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let mut streams = Streams::of(&mut child, output_max);
    let collected = streams.collect(&child, Instant::now() + limit);
    // The child is not reaped yet, so its group's id is not reused.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let status = child.wait().map_err(failed)?;
    match collected.map_err(failed)? {
        Collected::Whole => {
            Ok(Finished { status, stdout: streams.stdout.bytes, stderr: streams.stderr.bytes })
        }
        Collected::TimedOut => Err(ProgramError::TimedOut { program, limit }),
        Collected::TooMuch => Err(ProgramError::TooMuch { program, output_max }),
    }
}

struct Streams {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
}

impl Streams {
    fn of(child: &mut Child, bytes_max: usize) -> Self {
        Self {
            stdout: Stream::new(child.stdout.take(), bytes_max),
            stderr: Stream::new(child.stderr.take(), bytes_max),
        }
    }

    /// Reads until the program has ended, at most until `end`. Does not wait for other processes that hold its streams open.
    fn collect(&mut self, child: &Child, end: Instant) -> io::Result<Collected> {
        let exit = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        loop {
            let Some(rest) = end.checked_duration_since(Instant::now()) else {
                return Ok(Collected::TimedOut);
            };
            let mut polled = vec![PollFd::new(&exit, PollFlags::IN)];
            polled.extend(self.stdout.poll());
            polled.extend(self.stderr.poll());
            wait(&mut polled, rest)?;
            let has_ended = polled.first().is_some_and(|exit| !exit.revents().is_empty());
            let read = (self.stdout.read_available()?, self.stderr.read_available()?);
            match read {
                (true, true) if has_ended => return Ok(Collected::Whole),
                (true, true) => {}
                _ => return Ok(Collected::TooMuch),
            }
        }
    }
}

impl<R: Read + AsFd> Stream<R> {
    fn new(reader: Option<R>, bytes_max: usize) -> Self {
        Self { reader, bytes: Vec::new(), bytes_max }
    }

    fn poll(&self) -> Option<PollFd<'_>> {
        self.reader.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN))
    }

    /// Reads what is available without waiting. Returns false if the limit is exceeded.
    fn read_available(&mut self) -> io::Result<bool> {
        let mut buffer = [0; PIECE_BYTES];
        while let Some(reader) = &mut self.reader {
            if wait(&mut [PollFd::new(reader, PollFlags::IN)], Duration::ZERO)? == 0 {
                break;
            }
            match reader.read(&mut buffer)? {
                0 => self.reader = None,
                count => self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
            if self.bytes.len() > self.bytes_max {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// poll(2) for at most `limit`; an interrupting signal ends the wait.
pub(crate) fn wait(polled: &mut [PollFd<'_>], limit: Duration) -> io::Result<usize> {
    // Limits are seconds, so this cannot fail.
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(polled, Some(&limit)) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn sh(script: &str, limit: Duration) -> Result<Finished, ProgramError> {
        run(Command::new("/bin/sh").args(["-c", script]), limit)
    }

    #[test]
    fn output_and_status_of_a_program_are_returned() {
        let finished = sh("echo yes; echo no >&2; cat; exit 3", LONG).unwrap();
        assert_eq!(
            (finished.status.code(), finished.stdout, finished.stderr),
            (Some(3), b"yes\n".into(), b"no\n".into())
        );
        assert!(matches!(run(&mut Command::new("/nonexistent"), LONG), Err(ProgramError::Run { .. })));
    }

    #[test]
    fn a_program_that_hangs_or_floods_is_ended() {
        let hung = sh("exec sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert_eq!(hung.to_string(), "`/bin/sh` took more than 50 ms");
        let mute = sh("exec >&- 2>&-; exec sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(mute, ProgramError::TimedOut { .. }), "{mute}");
        let flood = sh("yes", LONG).unwrap_err();
        assert_eq!(flood.to_string(), "`/bin/sh` printed more than 4096 bytes");
        assert!(sh("head -c 4096 /dev/zero", LONG).is_ok());
    }

    #[test]
    fn background_processes_of_a_program_are_killed_without_waiting() {
        let finished = sh("sleep 1000 & echo $!", LONG).unwrap();
        let pid = String::from_utf8(finished.stdout).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // A killed process may be a zombie until init reaps it.
        let is_running = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let end = Instant::now() + LONG;
        while is_running() {
            assert!(Instant::now() < end, "still running");
            std::thread::yield_now();
        }
    }
}
