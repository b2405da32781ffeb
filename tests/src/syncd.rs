//! pushkeys-syncd on a push host, as the user that its unit names.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::process::Process;
use crate::{Program, Room, as_user, program};

/// The user who owns the cache.
const USER: &str = "pushkeys";

/// A daemon with its configuration, running or not.
#[derive(Debug)]
pub struct Syncd {
    configuration: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Syncd {
    /// A daemon that is not yet running, configured by `text`.
    #[must_use]
    pub fn configure(room: &Room, text: &str) -> Self {
        let configuration = room.write_with_mode("syncd.toml", text, 0o644);
        Self { configuration, log: room.join("syncd.log"), process: None }
    }

    /// Starts it.
    pub fn start(&mut self) {
        self.start_as(&[]);
    }

    /// Starts it to sync once and to end by itself.
    pub fn start_once(&mut self) {
        self.start_as(&["--once"]);
    }

    fn start_as(&mut self, arguments: &[&str]) {
        let mut command = as_user(USER, program(Program::Syncd));
        command.arg("--config").arg(&self.configuration).args(arguments);
        self.process = Some(Process::spawn("pushkeys-syncd", command, &self.log));
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.ended()
    }

    /// Ends it as a service manager does.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.stop();
            assert!(status.success(), "pushkeys-syncd: {status}");
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Its process id.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("pushkeys-syncd is running").pid()
    }

    /// All that it has logged, over restarts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }
}
