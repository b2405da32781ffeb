//! The system calls of the look-up that are not the cache's.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// sshd waits for its helper until its `LoginGraceTime`, two minutes by default, so the limit is our own.
const SECONDS_MAX: u32 = 2;

/// Has the kernel end this process by SIGALRM, whatever it hangs on: sshd then voids the answer and logs the signal.
pub(crate) fn end_after_two_seconds() {
    #[expect(unsafe_code, reason = "alarm(2) has no safe wrapper among the dependencies of this program")]
    // SAFETY: alarm(2) takes a number and touches no memory; SIGALRM has its default action, since sshd resets
    // every signal before it runs the helper.
    unsafe {
        alarm(SECONDS_MAX);
    }
}

#[expect(unsafe_code, reason = "see `end_after_two_seconds`")]
unsafe extern "C" {
    fn alarm(seconds: u32) -> u32;
}

/// The time. A clock before 1970 or past the year 9999 makes every limited validity end.
pub(crate) fn now() -> Timestamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| Timestamp::from_second(since.as_secs().try_into().ok()?).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Writes all of `bytes` to stdout; for a line that is one call.
pub(crate) fn write_to_stdout(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
