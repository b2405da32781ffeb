//! A push host that serves git, and a user of it.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pushkeys_tests::{
    Account, Finished, HostFiles, Key, Process, PushHost, Room, Service, Session, SshdSettings, Syslog,
    as_user, run, until,
};

/// A push host that serves git, and ana with her key and her working copy.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) host: PushHost,
    pub(crate) syslog: Syslog,
    pub(crate) ana: Account,
    pub(crate) key: Key,
    pub(crate) room: Room,
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// A world with `settings` appended to the host's `shell.toml`, which may refer to the host's files.
    pub(crate) fn start_with(settings: impl FnOnce(&HostFiles) -> String) -> Self {
        Self::assemble(settings, |_, _| {})
    }

    /// The same, with changed settings of sshd and of the daemon, which come before its source.
    pub(crate) fn assemble(
        settings: impl FnOnce(&HostFiles) -> String,
        change: impl FnOnce(&mut SshdSettings, &mut String),
    ) -> Self {
        let (service, syslog, files) = (Service::start(), Syslog::start(), HostFiles::install());
        let mut daemon = String::new();
        let mut sshd = SshdSettings::new(&files.helper());
        change(&mut sshd, &mut daemon);
        sshd.prelude = Some(syslog.prelude());
        let source = format!("{daemon}{}", files.source_with_git(&service, &settings(&files)));
        let host = PushHost::assemble(files, &source, |settings| *settings = sshd);
        let (ana, key) = (service.account("ana"), Key::ed25519());
        ana.adds(&key, "laptop");
        host.learns(&key);
        let world = Self { service, host, syslog, ana, key, room: Room::temporary() };
        world.git(&["init", "--quiet", "--initial-branch=main", "copy"]).output_of("init");
        world.commits("first");
        world
    }

    /// ana's git in her folder, with her configuration of ssh, and `ssh` after that.
    pub(crate) fn command_with(&self, key: &Key, ssh: &[&str], arguments: &[&str]) -> Command {
        let ssh = self.host.login("git", key).with_arguments(ssh).into_git_ssh_command();
        let mut git = as_user("root", "git");
        git.args(["-c", "user.name=ana", "-c", "user.email=ana@example.com"]).args(arguments);
        git.current_dir(self.room.path()).env("HOME", self.room.path());
        git.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        git
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_with(&self.key, &[], arguments)
    }

    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    pub(crate) fn commits(&self, name: &str) {
        fs::write(self.room.join("copy").join(name), name).expect("own file");
        self.git(&["-C", "copy", "add", "."]).output_of("add");
        self.git(&["-C", "copy", "commit", "--quiet", "--message", name]).output_of("commit");
    }

    #[track_caller]
    pub(crate) fn pushes(&self) -> String {
        let finished = self.git(&["-C", "copy", "push", URL, "main"]);
        assert!(finished.status.success(), "{finished:?}");
        finished.stderr
    }

    pub(crate) fn revision(path: &Path, name: &str) -> String {
        let finished = run(Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(path)
            .args(["rev-parse", name]));
        finished.output()
    }

    pub(crate) fn head(&self) -> String {
        Self::revision(&self.room.join("copy"), "HEAD")
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.host.files().repositories().join(self.ana.id()).join("app.git")
    }

    /// Adds a hook of the operator to ana's repository.
    pub(crate) fn hook(&self, name: &str, script: &str) {
        let folder = self.repository().join("hooks");
        fs::create_dir_all(&folder).expect("root may");
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("root may");
        let _ = run(Command::new("chmod").arg("755").arg(&path)).output();
    }

    /// A push that waits in a hook, which writes its process id to the returned file.
    pub(crate) fn push_that_waits(&self, ssh: &[&str]) -> (Child, PathBuf) {
        self.pushes();
        self.commits("second");
        let pid = self.repository().join("pid");
        self.hook("pre-receive", "echo $$ >pid.new; mv pid.new pid; exec sleep 1000");
        let mut push = self.command_with(&self.key, ssh, &["-C", "copy", "push", URL, "main"]);
        push.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let push = push.spawn().expect("git runs");
        until("the push waits in the hook", || pid.exists());
        (push, pid)
    }

    /// A connection of ana that other sessions share until the process is dropped, and the option for them.
    pub(crate) fn shares_a_connection(&self) -> (Process, String) {
        let socket = self.room.join("control");
        let option = format!("ControlPath={}", socket.display());
        let login = self.host.login("git", &self.key);
        let master = login.with_arguments(&["-o", &option, "-o", "ControlMaster=yes", "-N"]).stays();
        until("the connection is shared", || socket.exists());
        (master, option)
    }

    #[track_caller]
    pub(crate) fn asks(&self, command: &str) -> Session {
        self.host.login("git", &self.key).runs(&[command])
    }

    /// The log lines of the forced command.
    pub(crate) fn sessions(&self) -> Vec<String> {
        let lines = self.syslog.lines().into_iter();
        lines.filter(|line| line.contains("pushkeys-shell") && line.contains("session ")).collect()
    }

    /// The log lines of pushes.
    pub(crate) fn logged_pushes(&self) -> Vec<String> {
        let lines = self.syslog.lines().into_iter();
        lines.filter(|line| line.contains("pushkeys-shell") && line.contains(": push ")).collect()
    }
}

pub(crate) const URL: &str = "git@127.0.0.1:app.git";

pub(crate) trait OutputOf {
    fn output_of(self, what: &str);
}

impl OutputOf for Finished {
    #[track_caller]
    fn output_of(self, what: &str) {
        assert!(self.status.success(), "{what}: {self:?}");
    }
}

pub(crate) fn is_running(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).expect("the hook wrote it");
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn ended(push: Child) -> (bool, String) {
    let output = push.wait_with_output().expect("own child");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}
