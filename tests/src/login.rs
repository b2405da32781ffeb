//! Logging in with stock ssh.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sshd::HOST_KEY_ALIAS;
use crate::{Account, Key, Process, Sshd, as_user, run};

/// ssh's own failure, as opposed to the exit code of what ran on the host.
const SSH_FAILED: i32 = 255;

/// An attempt to log in. Each of the verbs makes it once.
#[derive(Debug)]
pub struct Login {
    command: Command,
    log: PathBuf,
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
    /// An attempt as `login` at `sshd`, with no key yet.
    #[must_use]
    pub fn new(sshd: &Sshd, login: &str) -> Self {
        Self::through(sshd, login, sshd.port())
    }

    /// An attempt that reaches `sshd` through somebody who listens on `port`.
    #[must_use]
    pub fn through(sshd: &Sshd, login: &str, port: u16) -> Self {
        let mut command = as_user("root", "ssh");
        command.args(["-F", "none", "-p", &port.to_string(), "-l", login]);
        command.args(["-o", &format!("HostKeyAlias={HOST_KEY_ALIAS}")]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.known_hosts().display()));
        Self { command, log: sshd.room().join("ssh.log") }
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
    pub fn runs(self, words: &[&str]) -> Session {
        let finished = run(self.completed().args(words));
        Session { code: finished.status.code(), stdout: finished.stdout, stderr: finished.stderr }
    }

    /// ssh's command line, for callers that run it themselves.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.completed()
    }

    /// What git is to start in place of ssh; it gives the host itself.
    #[must_use]
    pub fn into_git_ssh_command(self) -> String {
        let command = self.completed();
        // The words before `--` are those of the program that starts ssh as a user, the last two are `-- HOST`.
        let words: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
        let ssh = words.iter().skip_while(|word| **word != "--").skip(1);
        let count = ssh.clone().count().saturating_sub(2);
        ssh.take(count).copied().collect::<Vec<_>>().join(" ")
    }

    /// Asks for nothing, and stays connected until the process is dropped.
    #[must_use]
    pub fn stays(self) -> Process {
        let log = self.log.clone();
        Process::spawn("ssh", self.completed(), &log)
    }

    /// Panics unless the session is let in and greets `account` by its name.
    #[track_caller]
    pub fn succeeds_as(self, account: &Account) {
        let session = self.opens();
        assert_eq!(session.code, Some(0), "{session:?}");
        assert_eq!(session.greeted(), Some(account.name()), "{session:?}");
        assert!(session.stdout.contains(&format!(" ({})", account.id())), "{session:?}");
    }

    /// Panics unless sshd refuses every key.
    #[track_caller]
    pub fn is_refused(self) {
        let session = self.opens();
        assert!(session.is_refused(), "{session:?}");
    }

    /// ssh's command line up to its host. The first value of an option wins, so these come after a test's own; nothing
    /// of the person who runs the test takes part.
    fn completed(mut self) -> Command {
        for option in [
            "BatchMode=yes",
            "ControlPath=none",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "IdentityFile=/nonexistent",
            "RequestTTY=no",
            "StrictHostKeyChecking=yes",
        ] {
            self.command.args(["-o", option]);
        }
        self.command.args(["--", "127.0.0.1"]);
        self.command
    }
}

impl Session {
    /// Whether sshd let nobody in.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.code == Some(SSH_FAILED) && self.stdout.is_empty() && self.stderr.contains("Permission denied (")
    }

    /// The name of the account that the session is greeted as.
    #[must_use]
    pub fn greeted(&self) -> Option<&str> {
        let (_, greeting) = self.stdout.split_once("Hello ")?;
        Some(greeting.split_once(", your key works.")?.0)
    }
}
