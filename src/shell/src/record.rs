//! Log lines of sessions and pushes, for the system log and for the daemon.
//!
//! Either may be unavailable, and neither may delay a session for long.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use pushkeys_cache::{SESSION_LINE_BYTES_MAX, SESSION_SOCKET};

const PROGRAM: &str = "pushkeys-shell";
/// How long to retry while the daemon's socket is full.
const FULL_MAX: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// Sends `line`, the record of a session or a push, to the system log and to the daemon of `cache`. `is_fault` marks what the
/// host's operator has to fix.
pub(crate) fn keep(cache: &Path, line: &str, is_fault: bool) {
    if is_fault {
        error(line);
    } else {
        pushkeys_authlog::info(PROGRAM, line);
    }
    let mut line = pushkeys_keys::escape(line).into_owned();
    line.truncate(line.floor_char_boundary(SESSION_LINE_BYTES_MAX));
    // Half an escape would make the whole line unreadable.
    while pushkeys_keys::unescape(&line).is_none() && line.pop().is_some() {}
    // The daemon may not run, and the system log has the line.
    let _ = send_to_daemon(cache, line.as_bytes());
}

/// Logs `line` as an error for the host's operator.
pub(crate) fn error(line: &str) {
    pushkeys_authlog::error(PROGRAM, line);
}

fn send_to_daemon(cache: &Path, line: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let (path, end) = (cache.join(SESSION_SOCKET), Instant::now() + FULL_MAX);
    loop {
        match socket.send_to(line, &path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(PAUSE);
            }
            sent => return sent.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_gets_one_printable_line_of_limited_length() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = UnixDatagram::bind(folder.path().join(SESSION_SOCKET)).unwrap();
        let check = |text: &str, begin: &str| {
            keep(folder.path(), text, false);
            let mut buffer = [0; 4096];
            let length = daemon.recv(&mut buffer).unwrap();
            let line = str::from_utf8(&buffer[..length]).unwrap();
            assert!(line.starts_with(begin) && length <= SESSION_LINE_BYTES_MAX, "{length}");
            assert!(length > SESSION_LINE_BYTES_MAX - 10, "{length}");
            let whole = pushkeys_keys::unescape(line).unwrap();
            assert!(text.starts_with(&whole), "{whole}");
        };
        check(&format!("session a\nb\u{1b}{}", "é".repeat(2000)), "session a\\nb\\u{1b}é");
        // The limit never splits an escape.
        (0..10).for_each(|length| check(&format!("{}{}", "x".repeat(length), "\u{202e}".repeat(500)), ""));
    }

    #[test]
    fn the_wait_for_a_daemon_that_does_not_read_is_short() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), "no daemon at all", false);
        let _daemon = UnixDatagram::bind(folder.path().join(SESSION_SOCKET)).unwrap();
        let begin = Instant::now();
        while send_to_daemon(folder.path(), b"x").is_ok() {
            assert!(begin.elapsed() < FULL_MAX, "the socket takes everything");
        }
        assert!(begin.elapsed() >= FULL_MAX);
    }
}
