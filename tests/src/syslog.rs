//! A push host's own system log.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};

use crate::Room;

/// Longer than any log line of the host's programs.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// More lines than any test causes; a reader that gets more has found a loop.
const LINES_MAX: usize = 100_000;

/// The devices that programs may need besides the log.
const DEVICES: &str = "null zero full random urandom tty";

/// The lines that programs in the host's mount namespace write to `/dev/log`.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    lines: Mutex<Vec<String>>,
    room: Room,
}

impl Syslog {
    /// An empty log.
    #[must_use]
    pub fn start() -> Self {
        let room = Room::temporary();
        let device = room.join("dev");
        fs::create_dir(&device).expect("own directory");
        let path = device.join("log");
        let socket = UnixDatagram::bind(&path).expect("a socket in an own directory");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("own socket");
        socket.set_nonblocking(true).expect("own socket");
        Self { socket, lines: Mutex::new(Vec::new()), room }
    }

    /// Shell commands that mount the log at `/dev/log`, in the caller's own mount namespace.
    #[must_use]
    pub fn prelude(&self) -> String {
        let dev = self.room.join("dev");
        format!(
            "cd {dev}; for name in {DEVICES}; do touch $name; mount --bind /dev/$name $name; done\n\
             mkdir pts; mount --bind /dev/pts pts; ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd\n\
             mount --rbind {dev} /dev; cd /",
            dev = dev.display()
        )
    }

    /// All lines so far, with priority and tag.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = vec![0; LINE_BYTES_MAX];
        loop {
            assert!(lines.len() < LINES_MAX, "{LINES_MAX} lines in the system log");
            match self.socket.recv(&mut line) {
                Ok(length) => {
                    lines.push(String::from_utf8_lossy(line.get(..length).unwrap_or(&line)).into_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return lines.clone(),
                Err(error) => panic!("cannot read the system log: {error}"),
            }
        }
    }
}
