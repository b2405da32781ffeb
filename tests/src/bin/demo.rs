//! The life of a key on this machine, step by step: `make demo`.
//!
//! The commands that are shown are run by `sh`, with stock curl, ssh and ssh-keygen.

#![expect(clippy::expect_used, reason = "a step that does not hold ends the demo")]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pushkeys_tests::{
    Account, Finished, HostFiles, Program, PushHost, Room, Service, as_user, clever_tools,
    clever_tools_if_installed, leave_nothing_behind, program, run, until,
};

/// The version that the tests use, too.
const CLEVER_TOOLS: &str = "4.11.0";
/// The password of ana, who exists only during the demo.
const PASSWORD: &str = "correct horse battery staple";

fn main() {
    let is_once = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(_) => {
            eprintln!("usage: demo [--once]");
            std::process::exit(2);
        }
    };
    leave_nothing_behind();
    let mut demo = Demo::start();
    demo.register_and_log_in();
    demo.delete_and_be_refused();
    demo.use_clever(is_once);
    demo.outlive_the_service();
    demo.push_and_deploy();
    if is_once {
        say("every step held");
    } else {
        demo.stay();
    }
}

struct Demo {
    room: Room,
    service: Service,
    host: PushHost,
    /// The folder of sites that the operator's program publishes, and the address of a web server for them.
    sites: PathBuf,
    web: SocketAddr,
}

/// The operator's program of the package.
const DEPLOY: &str = include_str!("../../../packaging/examples/deploy-static-site");
/// The longest request of a browser in bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

impl Demo {
    fn start() -> Self {
        say("starting a key service, and a push host with its daemon and its sshd");
        let room = Room::temporary();
        let mut service = Service::start();
        let files = HostFiles::install();
        let sites = files.room().join("sites");
        std::fs::create_dir(&sites).expect("own directory");
        let _ = run(Command::new("chown").arg("git:git").arg(&sites)).output();
        let example = files.room().write_with_mode("deploy-static-site", DEPLOY, 0o755);
        let program = format!("#!/bin/sh\nSITES={} exec {}\n", sites.display(), example.display());
        let source = files.source_with_git(&service, &files.deploying(&program));
        let host = PushHost::assemble(files, &source, |_| {});
        let web = serve_files(&sites.join("live"));
        // The console shows the push host, whose address is known only now.
        service.takes_settings(&format!("[console]\npush_host = \"127.0.0.1:{}\"\n", host.sshd.port()));
        service.stop();
        service.restart();
        let ssh_config = format!(
            "Host push\n  HostName 127.0.0.1\n  Port {}\n  User git\n  UserKnownHostsFile {}\n  \
             StrictHostKeyChecking yes\n  BatchMode yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  RequestTTY no\n",
            host.sshd.port(),
            host.sshd.known_hosts().display()
        );
        let _ = room.write("ssh_config", &ssh_config);
        println!("    key service  {}", service.url());
        println!("    console      {}/users/me/ssh-keys", service.url());
        println!("    sshd         127.0.0.1:{}", host.sshd.port());
        println!("    cache        {}", host.cache().display());
        println!("    sites        http://{web}/");
        Self { room, service, host, sites, web }
    }

    fn register_and_log_in(&self) {
        for name in ["ana", "bob"] {
            say(&format!("{name} has an account and a token, and makes a key"));
            let account = self.service.account(name);
            self.write_header(&account);
            self.shell(&format!("ssh-keygen -q -t ed25519 -N '' -C {name}@laptop -f {name}")).succeeds();
            say(&format!("{name} registers it through the API"));
            self.shell(&self.registration(name)).succeeds();
            self.until_helper_answers(name, true);
            say(&format!("{name} logs in, with stock ssh"));
            self.shell(&login(name)).greets(name);
        }
    }

    fn delete_and_be_refused(&self) {
        say("ana deletes her key, and sshd refuses it");
        self.shell(&format!("curl -fsS -X DELETE -H @ana.header {}/v2/self/keys/laptop", self.service.url()))
            .succeeds();
        self.until_helper_answers("ana", false);
        self.shell(&login("ana")).was_refused();
    }

    /// Users of Clever Cloud have this program already, if Node is installed.
    fn use_clever(&self, is_once: bool) {
        let has_npm = run(Command::new("sh").args(["-c", "command -v node npm"])).status.success();
        let program = match clever_tools_if_installed(CLEVER_TOOLS) {
            Some(program) => program,
            // Installing takes longer than the rest of the demo.
            None if has_npm && !is_once => {
                say("npm installs clever-tools, which is kept for the next time");
                clever_tools(CLEVER_TOOLS)
            }
            None => return say("the clever command line is left out: it is not installed here"),
        };
        say("bob lists and adds keys with the clever command line, unmodified from npm");
        let issued = self.service.administers(&["token", "add", "bob", "--json"]).output();
        let issued: serde_json::Value = serde_json::from_str(&issued).expect("JSON");
        let text =
            |field: &str| issued.get(field).and_then(serde_json::Value::as_str).expect("a text").to_owned();
        let variables = format!(
            "export API_HOST={} CLEVER_TOKEN={} CLEVER_SECRET={} HOME=. NO_UPDATE_NOTIFIER=1 NO_COLOR=1 PATH={}:/usr/local/bin:$PATH\n",
            self.service.url(),
            text("oauth_token"),
            text("oauth_secret"),
            program.parent().expect("a file is in a directory").display(),
        );
        let _ = self.room.write("clever.env", &variables);
        self.shell("ssh-keygen -q -t ed25519 -N '' -C bob@desktop -f desktop").succeeds();
        self.shell(". ./clever.env; clever ssh-keys add desktop desktop.pub").succeeds();
        self.shell(". ./clever.env; clever ssh-keys").says("desktop");
    }

    fn outlive_the_service(&mut self) {
        say("the key service stops; bob's key is on the host, so bob does not notice");
        self.service.stop();
        let unreachable = self.shell(&format!("curl -sS {}/healthz", self.service.url()));
        assert!(!unreachable.0.status.success(), "the service is stopped");
        self.shell(&login("bob")).greets("bob");
    }

    fn push_and_deploy(&self) {
        say("bob pushes a page, the service still away, and the operator's program publishes it");
        self.shell(
            "git init --quiet --initial-branch=main site && echo '<h1>It is live.</h1>' >site/index.html",
        )
        .succeeds();
        self.shell(
            "git -C site add . && git -C site -c user.name=bob -c user.email=bob@example.com commit --quiet -m first",
        )
        .succeeds();
        self.shell(&self.push("bob")).succeeds();
        let live = self.sites.join("live");
        let site = std::fs::read_dir(live).expect("own directory").flatten().next().expect("bob's site");
        let address = format!("http://{}/{}/", self.web, site.file_name().to_string_lossy());
        say(&format!("and there it is, at {address}"));
        self.shell(&format!("curl -fsS {address}")).says("It is live.");
    }

    fn push(&self, name: &str) -> String {
        let room = self.room.path().display();
        format!(
            "GIT_SSH_COMMAND='ssh -F {room}/ssh_config -i {room}/{name}' git -C site push push:site.git main"
        )
    }

    fn stay(&mut self) {
        self.service.restart();
        self.service.set_password("ana", PASSWORD);
        let room = self.room.path().display();
        say("all of it stays up until Ctrl-C; to try, in another terminal:");
        println!(
            "    open {}/users/me/ssh-keys, and sign in as ana with the password: {PASSWORD}",
            self.service.url()
        );
        println!("    cd {room}");
        println!("    {}", login("bob"));
        println!("    {}", self.registration("ana"));
        println!("    {}", self.push("bob"));
        println!("    {} --cache {} status", program(Program::Cli).display(), self.host.cache().display());
        loop {
            thread::park();
        }
    }

    /// A file with the credential for curl, which keeps it out of command lines.
    fn write_header(&self, account: &Account) {
        let _ = self.room.write(
            &format!("{}.header", account.name()),
            &format!("Authorization: Bearer {}", account.token()),
        );
    }

    /// The command with which `name` registers the key in `<name>.pub`: the body is the text as a JSON string.
    fn registration(&self, name: &str) -> String {
        format!(
            "printf '\"%s\"' \"$(cat {name}.pub)\" | curl -fsS -X PUT -H @{name}.header -H 'Content-Type: application/json' \
             --data-binary @- {}/v2/self/keys/laptop",
            self.service.url()
        )
    }

    /// Waits until sshd's helper has, or no longer has, the key in `<name>.pub`.
    fn until_helper_answers(&self, name: &str, is_known: bool) {
        let confirmed = Instant::now();
        let shown = run(Command::new("ssh-keygen").arg("-lf").arg(self.room.join(name))).output();
        let fingerprint = shown.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a fingerprint");
        until("the host follows", || self.host.lookup("git", &fingerprint).stdout.is_empty() != is_known);
        let took = confirmed.elapsed();
        println!(
            "    {} on the host within {} ms of that answer",
            if is_known { "known" } else { "gone" },
            millis(took)
        );
    }

    fn shell(&self, command: &str) -> Step {
        println!("    $ {command}");
        let mut shell = as_user("root", "sh");
        let finished = run(shell.current_dir(Path::new(self.room.path())).args(["-c", command]));
        for line in finished.stdout.lines().chain(finished.stderr.lines()) {
            println!("      {line}");
        }
        Step(finished)
    }
}

/// A command that was shown and run.
struct Step(Finished);

impl Step {
    fn succeeds(self) {
        assert!(self.0.status.success(), "this command should have succeeded");
    }

    fn says(self, text: &str) {
        assert!(
            self.0.status.success() && self.0.stdout.contains(text),
            "this command should have said: {text}"
        );
    }

    fn greets(self, name: &str) {
        assert!(
            self.0.status.success() && self.0.stdout.contains(name),
            "this login should have greeted {name}"
        );
    }

    fn was_refused(&self) {
        assert!(
            self.0.stderr.contains("Permission denied (publickey)"),
            "this login should have been refused"
        );
    }
}

/// A minimal web server for the files under `root`, until the demo ends.
fn serve_files(root: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let root = root.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The browser may have disconnected.
            let _ = answer(&root, &mut stream);
        }
    });
    address
}

fn answer(root: &Path, stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = [0; REQUEST_BYTES_MAX];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(request.get(..length).unwrap_or_default()).into_owned();
    let path = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
    let path = path.filter(|path| path.split('/').all(|part| !part.starts_with('.')));
    let path =
        path.map(|path| if path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() });
    match path.and_then(|path| std::fs::read(root.join(path)).ok()) {
        Some(page) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                page.len()
            )?;
            stream.write_all(&page)
        }
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
}

fn login(name: &str) -> String {
    format!("ssh -F ssh_config -i {name} push")
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis().max(1)
}
