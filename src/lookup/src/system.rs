//! System calls of a lookup other than the cache's.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// sshd waits for its helper up to `LoginGraceTime`, two minutes by default, so the program has its own limit.
const SECONDS_MAX: u32 = 2;

/// Makes the kernel end this process by SIGALRM, even if it hangs: sshd then discards the answer and logs the signal.
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

/// The current time. A clock before 1970 or after 9999 makes every `valid_until` pass.
pub(crate) fn now() -> Timestamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| Timestamp::from_second(since.as_secs().try_into().ok()?).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Writes all of `bytes` to stdout, a line in one call.
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
