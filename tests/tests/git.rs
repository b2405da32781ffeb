//! `git push`, `clone` and `fetch` with stock git and ssh through real sshd, and how such sessions end.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use pushkeys_tests::{
    Account, Finished, HostFiles, Key, PushHost, Room, Service, Session, Syslog, as_user, run, until,
};
use rustix::process::{Pid, Signal, kill_process_group};

/// As many as a busy team's machines push at the same moment.
const PUSHES: usize = 50;

/// A push host that serves git, and ana with her key and her working copy.
struct World {
    service: Service,
    host: PushHost,
    syslog: Syslog,
    ana: Account,
    key: Key,
    room: Room,
}

impl World {
    fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// A world with `settings` at the end of the host's `shell.toml`, which may name files of the host's own.
    fn start_with(settings: impl FnOnce(&Room) -> String) -> Self {
        let (service, syslog, files) = (Service::start(), Syslog::start(), HostFiles::install());
        let root = files.room().join("repositories");
        fs::create_dir(&root).expect("own directory");
        let _ = run(Command::new("chown").arg("git:git").arg(&root)).output();
        let settings = settings(files.room());
        let text = format!("root = \"{}\"\ncreate = \"first-push\"\n{settings}", root.display());
        let configuration = files.room().write_with_mode("shell.toml", &text, 0o644);
        let (shell, cache) = (files.programs().join("pushkeys-shell"), files.cache().display());
        let command = format!(
            "command = \"{} --cache {cache} --config {} --account {{account}} --key {{key_id}} \
             --fingerprint {{fingerprint}}\"\n",
            shell.display(),
            configuration.display()
        );
        let source = files.source(&service) + &command;
        let host = PushHost::assemble(files, &source, |sshd| sshd.prelude = Some(syslog.prelude()));
        let (ana, key) = (service.account("ana"), Key::ed25519());
        ana.adds(&key, "laptop");
        host.learns(&key);
        let world = Self { service, host, syslog, ana, key, room: Room::temporary() };
        world.git(&["init", "--quiet", "--initial-branch=main", "copy"]).output_of("init");
        world.commits("first");
        world
    }

    /// ana's git in her folder, with ssh as she has configured it, and `ssh` after that.
    fn command_with(&self, key: &Key, ssh: &[&str], arguments: &[&str]) -> Command {
        let login = self.host.login("git", key).with_arguments(ssh).into_command();
        // The fixture's command line ends in `-- HOST`, which git gives itself.
        let mut words: Vec<&str> = login.get_args().map(|word| word.to_str().expect("text")).collect();
        let separator = words.iter().position(|word| *word == "--").expect("setpriv's own options");
        words.drain(..=separator);
        words.truncate(words.len().saturating_sub(2));
        let mut git = as_user("root", "git");
        git.args(["-c", "user.name=ana", "-c", "user.email=ana@example.com"]).args(arguments);
        git.current_dir(self.room.path()).env("HOME", self.room.path());
        git.env("GIT_SSH_COMMAND", words.join(" ")).env("GIT_SSH_VARIANT", "ssh");
        git
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_with(&self.key, &[], arguments)
    }

    #[track_caller]
    fn git(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    fn commits(&self, name: &str) {
        fs::write(self.room.join("copy").join(name), name).expect("own file");
        self.git(&["-C", "copy", "add", "."]).output_of("add");
        self.git(&["-C", "copy", "commit", "--quiet", "--message", name]).output_of("commit");
    }

    #[track_caller]
    fn pushes(&self) -> String {
        let finished = self.git(&["-C", "copy", "push", URL, "main"]);
        assert!(finished.status.success(), "{finished:?}");
        finished.stderr
    }

    fn revision(path: &Path, name: &str) -> String {
        let finished = run(Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(path)
            .args(["rev-parse", name]));
        finished.output()
    }

    fn head(&self) -> String {
        Self::revision(&self.room.join("copy"), "HEAD")
    }

    fn repository(&self) -> PathBuf {
        self.host.files().room().join("repositories").join(self.ana.id()).join("app.git")
    }

    /// Puts a hook of the operator's into ana's repository.
    fn hook(&self, name: &str, script: &str) {
        let path = self.repository().join("hooks").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("root may");
        let _ = run(Command::new("chmod").arg("755").arg(&path)).output();
    }

    /// A push that waits in a hook, in the file of the result that hook's process writes its number.
    fn push_that_waits(&self, ssh: &[&str]) -> (Child, PathBuf) {
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

    #[track_caller]
    fn asks(&self, command: &str) -> Session {
        self.host.login("git", &self.key).runs(&[command])
    }

    /// What the forced command has logged.
    fn sessions(&self) -> Vec<String> {
        let lines = self.syslog.lines().into_iter();
        lines.filter(|line| line.contains("pushkeys-shell") && line.contains("session ")).collect()
    }
}

/// The hook as it is shipped.
const HOOK: &str = include_str!("../../packaging/hooks/post-receive");
const URL: &str = "git@127.0.0.1:app.git";

trait OutputOf {
    fn output_of(self, what: &str);
}

impl OutputOf for Finished {
    #[track_caller]
    fn output_of(self, what: &str) {
        assert!(self.status.success(), "{what}: {self:?}");
    }
}

fn is_running(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).expect("the hook wrote it");
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

fn ended(push: Child) -> (bool, String) {
    let output = push.wait_with_output().expect("own child");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_push_arrives_and_is_cloned_and_fetched() {
    let world = World::start();
    world.pushes();
    assert_eq!(World::revision(&world.repository(), "main"), world.head());
    world.git(&["clone", "--quiet", "--branch", "main", URL, "clone"]).output_of("clone");
    assert_eq!(fs::read_to_string(world.room.join("clone/first")).expect("a clone"), "first");
    world.commits("second");
    world.pushes();
    world.git(&["-C", "clone", "fetch", "--quiet"]).output_of("fetch");
    assert_eq!(World::revision(&world.room.join("clone"), "origin/main"), world.head());

    world.git(&["clone", "--branch", "main", "--depth", "1", URL, "shallow"]).output_of("shallow clone");
    assert!(world.room.join("shallow/.git/shallow").exists());
    world
        .git(&["clone", "--branch", "main", "--filter=blob:none", URL, "partial"])
        .output_of("partial clone");
    assert_eq!(fs::read_to_string(world.room.join("partial/second")).expect("a clone"), "second");
    let mut listed = world.command(&["-c", "protocol.version=2", "ls-remote", URL]);
    let trace = run(listed.env("GIT_TRACE_PACKET", "1")).stderr;
    assert!(trace.contains("ls-remote< version 2"), "{trace}");
}

#[test]
fn a_push_goes_on_while_the_service_and_the_daemon_are_down() {
    let mut world = World::start();
    world.service.kill();
    world.host.syncd.kill();
    world.pushes();
    assert_eq!(World::revision(&world.repository(), "main"), world.head());
}

#[test]
fn fifty_pushes_at_once() {
    let world = World::start();
    thread::scope(|scope| {
        for number in 0..PUSHES {
            let world = &world;
            let branch = format!("main:branch-{number}");
            scope.spawn(move || world.git(&["-C", "copy", "push", URL, &branch]).output_of("push"));
        }
    });
    let listed = world.git(&["ls-remote", URL]).output();
    assert_eq!(listed.matches("refs/heads/branch-").count(), PUSHES);
}

#[test]
fn a_push_deploys_and_the_pusher_sees_it() {
    let world = World::start_with(|room| {
        let hooks = room.join("hooks");
        fs::create_dir(&hooks).expect("own directory");
        let _ = room.write_with_mode("hooks/post-receive", HOOK, 0o755);
        let program = room.write_with_mode("deploy", "#!/bin/sh\nid -un; cat\n", 0o755);
        format!("[deploy]\nprogram = \"{}\"\nhooks = \"{}\"\n", program.display(), hooks.display())
    });
    let said = world.pushes();
    assert!(said.contains("remote: git"), "{said}");
    assert!(
        said.contains(&format!("remote: {{\"account\":\"{}\",\"account_name\":\"ana\",", world.ana.id())),
        "{said}"
    );
    assert!(said.contains(&format!(" {} refs/heads/main", world.head().trim())), "{said}");
}

#[test]
fn a_push_is_cut_when_its_key_is_deleted_and_changes_nothing() {
    let world = World::start();
    let (push, pid) = world.push_that_waits(&[]);
    let before = World::revision(&world.repository(), "main");
    world.ana.removes("laptop");
    let (is_success, message) = ended(push);
    assert!(!is_success);
    assert!(message.contains("pushkeys: this session ends: your key is no longer registered\n"), "{message}");
    until("the hook has ended", || !is_running(&pid));
    assert_eq!(World::revision(&world.repository(), "main"), before);
    until("the end is logged", || world.sessions().iter().any(|line| line.contains("answered=key-removed")));
}

#[test]
fn a_push_on_a_multiplexed_connection_is_cut_as_well() {
    let world = World::start();
    let path = format!("ControlPath={}", world.room.join("control").display());
    let master =
        world.host.login("git", &world.key).with_arguments(&["-o", &path, "-o", "ControlMaster=yes", "-N"]);
    let master = master.stays();
    until("the connection is shared", || world.room.join("control").exists());

    let (push, pid) = world.push_that_waits(&["-o", &path]);
    world.ana.removes("laptop");
    let (is_success, message) = ended(push);
    assert!(!is_success);
    assert!(message.contains("pushkeys: this session ends: your key is no longer registered\n"), "{message}");
    until("the hook has ended", || !is_running(&pid));
    let next = run(&mut world.command_with(&world.key, &["-o", &path], &["ls-remote", URL]));
    assert!(next.stderr.contains("pushkeys: your key is no longer registered\n"), "{next:?}");
    drop(master);
}

#[test]
fn no_child_outlives_a_client_that_is_gone() {
    let world = World::start();
    let (mut push, pid) = world.push_that_waits(&[]);
    kill_process_group(Pid::from_child(&push), Signal::KILL).expect("git and its ssh");
    let _ = push.wait();
    until("the hook has ended", || !is_running(&pid));
    until("the end is logged", || world.sessions().iter().any(|line| line.contains("answered=client-left")));
}

#[test]
fn every_session_is_one_line_of_the_log() {
    let world = World::start();
    world.pushes();
    let _ = world.asks("git-upload-pack '../x'\u{1b}[2J answered=served");
    until("both are logged", || world.sessions().len() == 2);
    let lines = world.sessions();
    let who = format!("session login=git account={} key=", world.ana.id());
    let fingerprint = format!(" fingerprint={} answered=", world.key.fingerprint());
    for (line, answered, asked) in [
        (&lines[0], "served status=0 duration_ms=", " asked=git-receive-pack repository=app"),
        (
            &lines[1],
            "command-malformed status=1 duration_ms=",
            " asked=command command=git-upload-pack '../x'\\u{1b}[2J answered=served",
        ),
    ] {
        assert!(line.contains(&who) && line.contains(&fingerprint), "{line}");
        assert!(line.contains(answered) && line.ends_with(asked), "{line}");
    }
}

/// git-shell, 2017.
#[test]
fn an_argument_that_begins_like_an_option_is_refused() {
    let world = World::start();
    for command in [
        "git-upload-pack --help",
        "git-receive-pack '--help'",
        "git-upload-pack '-x'",
        "git-upload-pack -- 'app'",
    ] {
        is_refused(&world.asks(command), command);
    }
}

/// git-shell, 2022.
#[test]
fn an_overlong_command_is_refused() {
    let world = World::start();
    let command = format!("git-receive-pack '{}'", "x".repeat(60_000));
    let session = world.asks(&command);
    is_refused(&session, "overlong");
    assert!(session.stderr.contains("at most 4096 are accepted"), "{session:?}");
}

/// gitolite, gitlab-shell.
#[test]
fn a_path_leads_out_of_no_account() {
    let world = World::start();
    let (ben, other) = (world.service.account("ben"), Key::ed25519());
    ben.adds(&other, "laptop");
    world.host.learns(&other);
    world.pushes();
    let (ana, root) = (world.ana.id().to_owned(), world.host.files().room().join("repositories"));
    for path in [
        format!("../{ana}/app.git"),
        format!("/../{ana}/app.git"),
        format!("x/../../{ana}/app.git"),
        format!("{}/{ana}/app.git", root.display()),
        format!("{ana}/app.git"),
        "/etc".to_owned(),
        "~root/app.git".to_owned(),
    ] {
        let command = format!("git-upload-pack '{path}'");
        is_refused(&world.host.login("git", &other).runs(&[&command]), &command);
    }
    world.git(&["ls-remote", URL]).output_of("ls-remote");
}

/// Gogs, Soft Serve.
#[test]
fn the_environment_of_a_client_does_not_reach_git() {
    let world = World::start();
    world.pushes();
    world.hook("post-receive", "env >environment");
    world.commits("second");
    let variables =
        "SetEnv=GIT_PROTOCOL='version=2;id' GIT_DIR=/x PUSHKEYS_ACCOUNT=acct_1 LD_PRELOAD=/x LC_ALL=x";
    let mut push = world.command_with(
        &world.key,
        &["-o", &format!("\"{variables}\"")],
        &["-C", "copy", "push", URL, "main"],
    );
    run(&mut push).output_of("push");
    let environment = fs::read_to_string(world.repository().join("environment")).expect("the hook ran");
    for absent in ["GIT_PROTOCOL", "LD_PRELOAD", "LC_ALL", "SSH_", "USER=", "acct_1\n", "GIT_DIR=/x"] {
        assert!(!environment.contains(absent), "{absent}: {environment}");
    }
    assert!(environment.contains(&format!("PUSHKEYS_ACCOUNT={}\n", world.ana.id())), "{environment}");
}

/// gitolite.
#[test]
fn a_newline_in_the_command_is_refused() {
    let world = World::start();
    let touched = world.repository();
    for command in [
        "git-receive-pack 'app'\nid",
        "git-receive-pack 'a\npp'",
        "git-receive-pack\n'app'",
        "\ngit-receive-pack 'app'",
    ] {
        is_refused(&world.asks(command), command);
    }
    assert!(!touched.exists(), "no repository was made");
    world.pushes();
    assert!(touched.exists());
}

#[track_caller]
fn is_refused(session: &Session, command: &str) {
    assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{command}: {session:?}");
    assert!(session.stderr.contains("pushkeys: ") && session.stderr.len() < 2_000, "{command}: {session:?}");
}
