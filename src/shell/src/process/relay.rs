//! Runs an operator's program inside a hook: its output is copied to the pusher immediately, and the hook ends when the program
//! does, even if background processes remain.
//!
//! Otherwise a background process that holds the program's output open would block git, and with it the push.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::program::wait;
use super::signals::Signals;

/// The size of a read.
const PIECE_BYTES: usize = 16 * 1024;
/// The upper bound of one wait; it only ends by an event.
const WAKE_EVERY: Duration = Duration::from_mins(1);

/// Runs `command` with `input` as its standard input, and copies its output to this process's standard error. When it has
/// ended, its process group gets SIGTERM. Signals that ask this process to end are passed on to the group.
pub(crate) fn run(command: &mut Command, input: File) -> io::Result<ExitStatus> {
    let signals = Signals::hold()?;
    let (mut output, writer) = io::pipe()?;
    command.stdin(input).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    let group = Pid::from_child(&child);
    let copied = copy_until_exit(&child, group, &mut output, &signals);
    // The child is not reaped yet, so its group's id is not reused.
    let stray = if copied.is_ok() { Signal::TERM } else { Signal::KILL };
    let _ = kill_process_group(group, stray);
    copied?;
    child.wait()
}

fn copy_until_exit(child: &Child, group: Pid, output: &mut PipeReader, signals: &Signals) -> io::Result<()> {
    let exit = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut is_open = true;
    loop {
        let mut polled = vec![PollFd::new(&exit, PollFlags::IN), PollFd::new(signals.fd(), PollFlags::IN)];
        if is_open {
            polled.push(PollFd::new(&*output, PollFlags::IN));
        }
        wait(&mut polled, WAKE_EVERY)?;
        let mut happened = polled.iter().map(|one| !one.revents().is_empty());
        let mut next = || happened.next().unwrap_or_default();
        let (has_ended, has_signal, has_output) = (next(), next(), next());
        if has_signal && let Some(signal) = signals.next() {
            let _ = kill_process_group(group, signal);
        }
        if has_output {
            is_open = copy_piece(output)?;
        }
        if has_ended {
            // All output of the program is in the pipe by now.
            while is_open && wait(&mut [PollFd::new(&*output, PollFlags::IN)], Duration::ZERO)? > 0 {
                is_open = copy_piece(output)?;
            }
            return Ok(());
        }
    }
}

/// Copies what is available. Returns whether more may follow.
fn copy_piece(output: &mut PipeReader) -> io::Result<bool> {
    let mut piece = [0; PIECE_BYTES];
    let count = output.read(&mut piece)?;
    // The client may have disconnected. Then the session's process ends this one.
    let _ = io::stderr().write_all(piece.get(..count).unwrap_or_default());
    Ok(count > 0)
}
