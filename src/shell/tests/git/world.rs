//! A push host without sshd, and users' working copies.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_cache::{Change, Entry, Stamps, Writer};
use pushkeys_keys::{Fingerprint, Name};

/// Far longer than anything here takes on a machine that also compiles.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(5);

/// The settings of most tests.
const SETTINGS: &str = "create = \"first-push\"\n";

/// A cache with ana's key, settings, and a root for repositories.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

/// A working copy of ana.
pub(crate) struct WorkingCopy {
    path: PathBuf,
}

impl Host {
    /// A host on which the first push creates a repository.
    pub(crate) fn start() -> Self {
        Self::with_settings(SETTINGS)
    }

    /// A host with `settings` after the root's.
    pub(crate) fn with_settings(settings: &str) -> Self {
        // Without a leading dot, which would make published files hidden.
        let host = Self { folder: tempfile::Builder::new().prefix("pushkeys-").tempdir().unwrap() };
        fs::create_dir(host.path("root")).unwrap();
        for name in ["pre-receive", "post-receive"] {
            for folder in ["hooks", "hooks/all"] {
                host.write(&format!("{folder}/{name}"), &packaging(&format!("hooks/{name}")));
            }
        }
        for name in ["update", "post-update", "reference-transaction", "proc-receive"] {
            host.write(&format!("hooks/all/{name}"), &packaging("hooks/own"));
        }
        host.set(settings);
        let mut writer = host.writer();
        let mut next = writer.begin().unwrap();
        next.push(entry("ana", "acct_7")).unwrap();
        next.push(entry("ben", "acct_8")).unwrap();
        let stamps = Stamps { synced_at: Timestamp::now(), valid_until: None };
        writer.commit(next.finish().unwrap(), None, stamps).unwrap();
        host.write_ssh("ana", "acct_7");
        host.write_ssh("ben", "acct_8");
        host
    }

    /// Writes `settings` after those of every host.
    pub(crate) fn set(&self, settings: &str) {
        let (root, hooks) = (self.path("root"), self.path("hooks"));
        let text = format!("root = \"{}\"\nhooks = \"{}\"\n{settings}", root.display(), hooks.display());
        self.write("shell.toml", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an executable file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Ana's repository `app`.
    pub(crate) fn repository(&self) -> PathBuf {
        self.path("root/acct_7/app.git")
    }

    /// Adds an operator's hook to ana's repository.
    pub(crate) fn hook(&self, name: &str, script: &str) {
        self.write(&format!("root/acct_7/app.git/hooks/{name}"), &format!("#!/bin/sh\n{script}\n"));
    }

    /// Removes ana's key, like a change of the feed.
    pub(crate) fn removes_key(&self) {
        let mut writer = self.writer();
        let stamps = writer.head().unwrap().stamps;
        writer.apply(&[Change::Remove(Fingerprint::of(b"ana"))], None, stamps).unwrap();
    }

    fn writer(&self) -> Writer {
        Writer::open(&self.path("cache"), &"api".parse().unwrap()).unwrap()
    }

    /// Writes a script in place of ssh with `user`'s key: the command is its last argument, as for sshd.
    fn write_ssh(&self, user: &str, account: &str) {
        let shell = self.shell_line(user, account);
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\n\
             exec env -i LOGNAME=git PATH=/usr/bin:/bin GIT_DIR=/nonexistent GIT_EXEC_PATH=/nonexistent \
             GIT_PROTOCOL=\"$GIT_PROTOCOL\" SSH_CONNECTION='192.0.2.1 50022 198.51.100.7 22' SSH_ORIGINAL_COMMAND=\"$last\" {shell}\n"
        );
        self.write(&format!("ssh-{user}"), &script);
    }

    fn shell_line(&self, user: &str, account: &str) -> String {
        let fingerprint = Fingerprint::of(user.as_bytes());
        let (cache, settings) = (self.path("cache"), self.path("shell.toml"));
        format!(
            "{} --account {account} --key key_42 --fingerprint {fingerprint} --cache {} --config {}",
            env!("CARGO_BIN_EXE_pushkeys-shell"),
            cache.display(),
            settings.display()
        )
    }

    /// The program for ana with `command`, as sshd would start it.
    pub(crate) fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new(self.path("ssh-ana"));
        shell.arg(command);
        shell
    }

    /// git for ana, in the folder `path`.
    pub(crate) fn git(&self, path: &Path, arguments: &[&str]) -> Command {
        self.git_of("ana", path, arguments)
    }

    pub(crate) fn git_of(&self, user: &str, path: &Path, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "user.name=ana",
            "-c",
            "user.email=ana@example.com",
        ]);
        git.args(arguments).current_dir(path);
        git.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        git.env("GIT_CONFIG_NOSYSTEM", "1");
        git.env("GIT_SSH_COMMAND", self.path(&format!("ssh-{user}"))).env("GIT_SSH_VARIANT", "ssh");
        git
    }

    /// A new working copy with one commit, whose remote `origin` is `url`.
    pub(crate) fn copy(&self, name: &str, url: &str) -> WorkingCopy {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        let copy = WorkingCopy { path };
        succeeds(self.git(copy.path(), &["init", "--quiet"]));
        succeeds(self.git(copy.path(), &["remote", "add", "origin", url]));
        copy.commits(self, "index.html", "<p>hello</p>\n");
        copy
    }
}

impl WorkingCopy {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn commits(&self, host: &Host, file: &str, text: &str) {
        fs::write(self.path.join(file), text).unwrap();
        succeeds(host.git(&self.path, &["add", "."]));
        succeeds(host.git(&self.path, &["commit", "--quiet", "--message", file]));
    }

    pub(crate) fn head(&self, host: &Host) -> String {
        revision(host, &self.path, "HEAD")
    }
}

/// The text of a packaged file.
pub(crate) fn packaging(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)).unwrap()
}

/// The commit `name` in the repository at `path`, or an empty text.
pub(crate) fn revision(host: &Host, path: &Path, name: &str) -> String {
    text(&run(host.git(path, &["rev-parse", "--quiet", "--verify", &format!("{name}^{{object}}")])).stdout)
}

/// Runs `command` without input until it ends.
pub(crate) fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// The output on both streams of a command that succeeds.
#[track_caller]
pub(crate) fn succeeds(command: Command) -> String {
    let output = run(command);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

/// The standard error of a command that fails.
#[track_caller]
pub(crate) fn fails(command: Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Starts `command` with pipes on all of its streams.
pub(crate) fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Whether the process whose id is in the file `path` is running.
pub(crate) fn is_running(path: &Path) -> bool {
    let pid = fs::read_to_string(path).unwrap();
    // A zombie has ended, but its parent has not reaped it.
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

fn entry(user: &str, account: &str) -> Entry {
    Entry {
        fingerprint: Fingerprint::of(user.as_bytes()),
        logins: vec!["git".parse().unwrap()],
        account: account.parse().unwrap(),
        key_id: "key_42".parse().unwrap(),
        account_name: Name::parse(user).ok(),
        key_name: Name::parse("my \"work\" laptop").ok(),
        line: "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap(),
    }
}
