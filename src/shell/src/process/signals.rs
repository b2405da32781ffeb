//! Receives signals that ask this process to end through a file descriptor, since its child must be ended first.

#![expect(
    unsafe_code,
    reason = "sigprocmask(2) and signalfd(2) have no safe wrapper among this program's dependencies"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::process::Signal;

/// The signals of service managers, terminals and operators.
const ASKED_TO_END: [Signal; 3] = [Signal::TERM, Signal::HUP, Signal::INT];
/// The size of a record of signalfd(2), which begins with the signal's number.
const RECORD_BYTES: usize = size_of::<libc::signalfd_siginfo>();

/// The signals of [`ASKED_TO_END`], blocked and readable.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals. Processes that are started later inherit this, so only SIGKILL ends them.
    pub(crate) fn hold() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) initialises the set that the other calls read; no pointer is kept by any of them. The
        // descriptor that signalfd(2) returns is new and has no other owner.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in ASKED_TO_END {
                libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Self(OwnedFd::from_raw_fd(descriptor))),
            }
        }
    }

    /// The descriptor, which is readable when a signal is pending.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// A pending signal, if there is one.
    pub(crate) fn next(&self) -> Option<Signal> {
        let mut record = [0; RECORD_BYTES];
        rustix::io::read(&self.0, &mut record).ok()?;
        let number = i32::from_ne_bytes(*record.first_chunk()?);
        ASKED_TO_END.into_iter().find(|signal| signal.as_raw() == number)
    }
}
