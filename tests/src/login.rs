//! Logins with stock ssh.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sshd::HOST_KEY_ALIAS;
use crate::{Account, Key, Process, Sshd, as_user, run};

/// ssh's exit code for its own failures, in contrast to that of the remote command.
const SSH_FAILED: i32 = 255;

/// A login attempt. Each of the verbs makes it once.
#[derive(Debug)]
pub struct Login {
    command: Command,
    log: PathBuf,
}

/// The result of an attempt.
#[derive(Debug)]
pub struct Session {
    /// ssh's exit code: that of the forced command, or 255.
    pub code: Option<i32>,
    /// The remote command's standard output.
    pub stdout: String,
    /// The remote command's standard error, and ssh's messages.
    pub stderr: String,
}

impl Login {
    /// An attempt as `login` at `sshd`, without a key.
    #[must_use]
    pub fn new(sshd: &Sshd, login: &str) -> Self {
        Self::through(sshd, login, sshd.port())
    }

    /// An attempt that reaches `sshd` through a forwarder on `port`.
    #[must_use]
    pub fn through(sshd: &Sshd, login: &str, port: u16) -> Self {
        let mut command = as_user("root", "ssh");
        command.args(["-F", "none", "-p", &port.to_string(), "-l", login]);
        command.args(["-o", &format!("HostKeyAlias={HOST_KEY_ALIAS}")]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.known_hosts().display()));
        Self { command, log: sshd.room().join("ssh.log") }
    }

    /// Offers `key`, after those added before.
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

    /// Adds arguments of ssh, such as `-v` or `-o`, `…`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sends no command, like `ssh git@host`.
    #[track_caller]
    #[must_use]
    pub fn opens(self) -> Session {
        self.runs(&[])
    }

    /// Sends the command `words`.
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

    /// The command for git to start in place of ssh; git appends the host.
    #[must_use]
    pub fn into_git_ssh_command(self) -> String {
        let command = self.completed();
        // The words before `--` belong to the program that starts ssh as a user; the last two are `-- HOST`.
        let words: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
        let ssh = words.iter().skip_while(|word| **word != "--").skip(1);
        let count = ssh.clone().count().saturating_sub(2);
        ssh.take(count).copied().collect::<Vec<_>>().join(" ")
    }

    /// Sends no command, and stays connected until the process is dropped.
    #[must_use]
    pub fn stays(self) -> Process {
        let log = self.log.clone();
        Process::spawn("ssh", self.completed(), &log)
    }

    /// Panics unless the session greets `account` by its name.
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

    /// ssh's command line up to its host. The first value of an option wins, so these come after a test's own. The
    /// configuration of the user who runs the test is not used.
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
    /// Whether sshd refused the login.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.code == Some(SSH_FAILED) && self.stdout.is_empty() && self.stderr.contains("Permission denied (")
    }

    /// The name of the account in the greeting.
    #[must_use]
    pub fn greeted(&self) -> Option<&str> {
        let (_, greeting) = self.stdout.split_once("Hello ")?;
        Some(greeting.split_once(", your key works.")?.0)
    }
}
