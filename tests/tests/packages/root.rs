//! A test's own Debian machine: a copy of a debootstrapped root folder, in which nothing runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use pushkeys_tests::{Finished, Key, Process, Room, as_user, run_within, until};

/// debootstrap downloads a hundred packages from a mirror, once.
const DEBOOTSTRAP_TIME_MAX: Duration = Duration::from_mins(10);
/// For copying a root folder, and for dpkg.
pub(crate) const STEP_TIME_MAX: Duration = Duration::from_mins(3);
/// The PATH of root in a machine.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders whose changes are ignored: those that the system itself writes to, and mount points.
const UNCOUNTED: [&str; 9] = [
    "/dev/",
    "/proc/",
    "/run/",
    "/tmp/",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/log/",
    "/var/lib/systemd/",
];

/// The release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Debian {
    /// 12, with OpenSSH 9.2 and systemd 252.
    Bookworm,
    /// 13, with OpenSSH 10.0 and systemd 257.
    Trixie,
    /// The next release, 14, with OpenSSH 10.6 or newer and systemd 262 or newer.
    Forky,
}

impl Debian {
    /// Its name in the archive.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// The beginning of its OpenSSH's version.
    pub(crate) fn openssh(self) -> &'static str {
        match self {
            Self::Bookworm => "9.2",
            Self::Trixie => "10.0",
            Self::Forky => "10.",
        }
    }
}

/// The machine.
pub(crate) struct Machine {
    room: Room,
    port: u16,
    /// A folder of the host that the machine has at the same path.
    shared: OnceLock<PathBuf>,
}

/// The output of a command that must succeed.
#[track_caller]
pub(crate) fn succeeded(words: &[&str], finished: Finished) -> String {
    assert!(finished.status.success(), "{words:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

impl Machine {
    /// A fresh machine with OpenSSH, in which nothing runs.
    pub(crate) fn copy(debian: Debian, port: u16) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut make = Command::new(repository.join("scripts/debian-root"));
        let printed = run_within(make.arg(debian.suite()), DEBOOTSTRAP_TIME_MAX).output();
        let room = Room::temporary();
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).arg(Path::new(printed.trim_end()).join("."));
        let _ = run_within(copy.arg(room.path()), STEP_TIME_MAX).output();
        let machine = Self { room, port, shared: OnceLock::new() };
        fs::create_dir_all(machine.path("/run/sshd")).expect("own directory");
        machine
    }

    /// Mounts the host's folder `path` at the same path, for all programs that are started from now on.
    pub(crate) fn shares(&self, path: &Path) {
        fs::create_dir_all(self.path(&path.display().to_string())).expect("own directory");
        self.shared.set(path.to_owned()).expect("one folder");
    }

    /// The host's path of the machine's `path`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.room.join(path.trim_start_matches('/'))
    }

    /// The text of the machine's file `path`.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"))
    }

    /// A command in the machine, as root.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let shared = self.shared.get().map(|path| path.display().to_string()).unwrap_or_default();
        let script = format!(
            "mount -t proc proc \"$0/proc\"; s='{shared}'; [ -z \"$s\" ] || mount --bind \"$s\" \"$0$s\"; \
             exec chroot \"$0\" \"$@\""
        );
        let mut command = as_user("root", "unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", &script]);
        command.arg(self.room.path()).args(words);
        command.env("PATH", PATH).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs `words` in the machine.
    #[track_caller]
    pub(crate) fn tries(&self, words: &[&str]) -> Finished {
        run_within(&mut self.command(words), STEP_TIME_MAX)
    }

    /// Runs `words` in the machine; panics unless they succeed.
    #[track_caller]
    pub(crate) fn runs(&self, words: &[&str]) -> String {
        succeeded(words, self.tries(words))
    }

    /// Copies the host's `file` into `folder`; returns its path there.
    pub(crate) fn receives(&self, file: &Path, folder: &str) -> String {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a file's name");
        fs::create_dir_all(self.path(folder)).expect("own directory");
        fs::copy(file, self.path(folder).join(name)).expect("room for a copy");
        format!("{folder}/{name}")
    }

    /// Installs our package `file`.
    #[track_caller]
    pub(crate) fn installs(&self, file: &Path) -> String {
        let package = self.receives(file, "/tmp");
        self.runs(&["dpkg", "--install", &package])
    }

    /// Starts sshd, without a service manager.
    pub(crate) fn starts_sshd(&self) -> Process {
        let port = self.port.to_string();
        let command =
            self.command(&["/usr/sbin/sshd", "-D", "-e", "-p", &port, "-o", "ListenAddress=127.0.0.1"]);
        let process = Process::spawn("sshd", command, &self.room.join("tmp/sshd.log"));
        until("sshd listens", || process.log().contains("Server listening on"));
        process
    }

    /// The result of a login as `git` with `key`.
    pub(crate) fn login(&self, key: &Key) -> Finished {
        let mut command = as_user("root", "ssh");
        command.args(["-F", "none", "-p", &self.port.to_string(), "-i"]).arg(key.path());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            command.args(["-o", option]);
        }
        run_within(command.args(["git@127.0.0.1"]).stdin(Stdio::null()), STEP_TIME_MAX)
    }

    /// Whether a login with `key` is greeted.
    pub(crate) fn greets(&self, key: &Key) -> bool {
        let session = self.login(key);
        session.status.success() && session.stdout.contains("your key works")
    }

    /// All files and folders that are not ignored.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let listed = self.runs(&["find", "/", "-xdev"]);
        listed
            .lines()
            .filter(|path| !UNCOUNTED.iter().any(|place| path.starts_with(place)))
            .map(str::to_owned)
            .collect()
    }
}
