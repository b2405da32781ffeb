//! pushkeys-syncd on a push host, as the user that its unit names.

use std::path::{Path, PathBuf};

use crate::process::{Finished, Process, run};
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
        let mut command = as_user(USER, program(Program::Syncd));
        command.arg("--config").arg(&self.configuration);
        self.process = Some(Process::spawn("pushkeys-syncd", command, &self.log));
    }

    /// Runs `--once` (or another mode that ends by itself) instead of the daemon.
    #[track_caller]
    #[must_use]
    pub fn run(&self, mode: &str) -> Finished {
        run(as_user(USER, program(Program::Syncd)).arg("--config").arg(&self.configuration).arg(mode))
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
