//! pushkeys-syncd on a push host, as the user of its unit.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::process::Daemon;
use crate::programs::environment_of;
use crate::{Clock, Program, Room, as_user, program};

/// The owner of the cache.
const USER: &str = "pushkeys";

/// A daemon with its configuration, running or not.
#[derive(Debug)]
pub struct Syncd {
    configuration: PathBuf,
    daemon: Daemon,
}

impl Syncd {
    /// A daemon that is not running yet, configured by `text`.
    #[must_use]
    pub fn configure(room: &Room, text: &str) -> Self {
        let configuration = room.write_with_mode("syncd.toml", text, 0o644);
        Self { configuration, daemon: Daemon::new("pushkeys-syncd", room.join("syncd.log")) }
    }

    /// Starts it.
    pub fn start(&mut self) {
        self.start_as(&[]);
    }

    /// Starts it to sync once and exit.
    pub fn start_once(&mut self) {
        self.start_as(&["sync-once"]);
    }

    /// Starts it with a changed clock.
    pub fn start_with_clock(&mut self, clock: Clock<'_>) {
        // The user is changed first, so that all files belong to that user.
        let mut command = as_user(USER, "env");
        command.args(environment_of(clock));
        command.arg(program(Program::Syncd)).arg("--config").arg(&self.configuration);
        self.daemon.start(command);
    }

    /// Starts it with a watchdog of 30 s and notifications to `socket`, like a service manager.
    pub fn start_watched(&mut self, socket: &Path) {
        let mut command = as_user(USER, "env");
        command.arg(format!("NOTIFY_SOCKET={}", socket.display())).arg("WATCHDOG_USEC=30000000");
        command.arg(program(Program::Syncd)).arg("--config").arg(&self.configuration);
        self.daemon.start(command);
    }

    fn start_as(&mut self, arguments: &[&str]) {
        let mut command = as_user(USER, program(Program::Syncd));
        command.arg("--config").arg(&self.configuration).args(arguments);
        self.daemon.start(command);
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.ended()
    }

    /// Stops it like a service manager.
    #[track_caller]
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Suspends it, until [`Syncd::thaw`].
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Its process id.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Its log, including earlier runs.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }
}
