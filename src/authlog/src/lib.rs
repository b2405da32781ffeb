//! Sends lines to the system log, facility authpriv, for the programs that sshd starts.
//!
//! They must never wait for the log: if its socket is full, the line is lost, but not the login. The log adds time and host.
//! Control characters are escaped here in any case, even though callers escape what users chose.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// The socket of syslog daemons and journald (syslog(3)).
const SOCKET: &str = "/dev/log";

/// The maximum length of a line in bytes. RFC 3164 section 4.1 allows 1024, but all current daemons take at least 2048.
const LINE_BYTES_MAX: usize = 1800;

/// Logs `message` as an error of `program`. It is lost if the log does not take it at once.
pub fn error(program: &'static str, message: &str) {
    // There is nowhere to report this error.
    let _ = send(Path::new(SOCKET), program, Severity::LOG_ERR, message);
}

/// Logs `message` as information; see [`error`].
pub fn info(program: &'static str, message: &str) {
    let _ = send(Path::new(SOCKET), program, Severity::LOG_INFO, message);
}

fn send(
    socket: &Path,
    program: &'static str,
    severity: Severity,
    message: &str,
) -> Result<(), syslog::Error> {
    let datagram = connect(socket).map_err(syslog::Error::Io)?;
    let mut logger = Logger::new(LoggerBackend::Unix(datagram), OneLine { program });
    match severity {
        Severity::LOG_ERR => logger.err(message),
        _ => logger.info(message),
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.connect(path)?;
    Ok(datagram)
}

/// `<priority>program[pid]: message`.
struct OneLine {
    program: &'static str,
}

impl LogFormat<&str> for OneLine {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, message: &str) -> Result<(), syslog::Error> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        let mut line = format!(
            "<{priority}>{}[{}]: {}",
            self.program,
            std::process::id(),
            pushkeys_keys::escape(message)
        );
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        // One call is one datagram.
        out.write_all(line.as_bytes()).map_err(syslog::Error::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(message: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, "pushkeys-lookup", Severity::LOG_ERR, message).unwrap();
        let mut buffer = [0; 4096];
        let length = log.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_line_names_its_program_and_goes_to_authpriv() {
        let pid = std::process::id();
        assert_eq!(received("cannot answer"), format!("<83>pushkeys-lookup[{pid}]: cannot answer"));
    }

    #[test]
    fn a_message_is_one_line_of_limited_length() {
        let line = received("a\nb\x1b[0m\0");
        assert!(line.ends_with(": a\\nb\\u{1b}[0m\\u{0}"), "{line}");
        let cut = received(&"é".repeat(5000)).len();
        assert!((LINE_BYTES_MAX - 1..=LINE_BYTES_MAX).contains(&cut), "{cut}");
    }

    #[test]
    fn a_full_log_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _never_read = UnixDatagram::bind(&path).unwrap();
        let sent =
            (0..100_000).map(|_| send(&path, "x", Severity::LOG_INFO, "y")).take_while(Result::is_ok).count();
        assert!(sent < 100_000);
        assert!(send(&folder.path().join("none"), "x", Severity::LOG_INFO, "y").is_err());
    }
}
