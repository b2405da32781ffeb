//! Logging in with stock ssh.

use std::path::Path;
use std::process::Command;

use crate::{Account, Key, Sshd, run};

/// ssh's own failure, as opposed to the exit code of what ran on the host.
const SSH_FAILED: i32 = 255;

/// An attempt to log in. Each of the verbs makes it once.
#[derive(Debug)]
pub struct Login {
    command: Command,
}

/// How an attempt went.
#[derive(Debug)]
pub struct Session {
    /// ssh's exit code: that of the forced command, or 255.
    pub code: Option<i32>,
    /// What the host printed.
    pub stdout: String,
    /// What the host printed to standard error, and what ssh has to say.
    pub stderr: String,
}

impl Login {
    /// An attempt as `login` at `sshd`, with no key yet and no configuration of the person who runs the test.
    pub(crate) fn new(sshd: &Sshd, login: &str) -> Self {
        let mut command = Command::new("ssh");
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["-F", "none", "-T"]);
        let known_hosts = format!("UserKnownHostsFile={}", sshd.known_hosts().display());
        command.args(["-p", &sshd.port().to_string(), "-l", login, "-o", &known_hosts]);
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "LogLevel=INFO"] {
            command.args(["-o", option]);
        }
        Self { command }
    }

    /// Offers `key`, after those already given.
    #[must_use]
    pub fn with_key(self, key: &Key) -> Self {
        self.with_identity(key.path())
    }

    /// Offers the private key in the file `path`.
    #[must_use]
    pub fn with_identity(mut self, path: &Path) -> Self {
        self.command.arg("-i").arg(path);
        self
    }

    /// Gives ssh further arguments, such as `-v` or `-o`, `…`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Asks for nothing, as `ssh git@host` does.
    #[track_caller]
    #[must_use]
    pub fn opens(self) -> Session {
        self.runs(&[])
    }

    /// Asks for `words` to be run.
    #[track_caller]
    #[must_use]
    pub fn runs(mut self, words: &[&str]) -> Session {
        let finished = run(self.command.arg("127.0.0.1").args(words));
        Session { code: finished.status.code(), stdout: finished.stdout, stderr: finished.stderr }
    }

    /// Panics unless the session is let in and greets `account` by its name.
    #[track_caller]
    pub fn succeeds_as(self, account: &Account) {
        let session = self.opens();
        assert_eq!(session.code, Some(0), "{session:?}");
        assert_eq!(session.greeted(), Some(account.name()), "{session:?}");
    }

    /// Panics unless sshd refuses every key.
    #[track_caller]
    pub fn is_refused(self) {
        let session = self.opens();
        assert!(session.is_refused(), "{session:?}");
    }
}

impl Session {
    /// Whether sshd let nobody in.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.code == Some(SSH_FAILED)
            && self.stdout.is_empty()
            && self.stderr.contains("Permission denied (publickey)")
    }

    /// The name of the account that the session is greeted as.
    #[must_use]
    pub fn greeted(&self) -> Option<&str> {
        let (_, greeting) = self.stdout.split_once("Hello ")?;
        greeting.split(['!', ',', '\n']).next()
    }
}
