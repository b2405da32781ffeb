//! The units: systemd accepts them, and the daemons behave as their units require.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pushkeys_tests::{
    Client, HostFiles, PATIENCE, Process, Program, Room, Syncd, as_user, program, run, until,
};
use reqwest::Method;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd");
/// In tenths, as for `--threshold`. The rest is the network that both need.
const EXPOSURE_MAX: &str = "15";
/// Far shorter than in the units, so that a test sees watchdog pings quickly.
const WATCHDOG_US: &str = "600000";
/// A message to systemd has a few words.
const MESSAGE_BYTES_MAX: usize = 4096;
/// A healthy daemon sends a few messages a second.
const MESSAGES_MAX: usize = 200;

/// A root folder with the units, empty programs and the targets of this machine's systemd.
fn root_with_units() -> Room {
    let root = Room::temporary();
    let place = root.join("usr/lib/systemd/system");
    for folder in [&place, &root.join("usr/bin"), &root.join("usr/sbin")] {
        fs::create_dir_all(folder).expect("own directory");
    }
    copy_units(Path::new("/lib/systemd/system"), &place, &["target", "slice"]);
    copy_units(Path::new(UNITS), &place, &["service", "socket"]);
    for name in ["usr/bin/kill", "usr/bin/pushkeys-server", "usr/sbin/pushkeys-syncd"] {
        let _ = root.write_with_mode(name, "#!/bin/sh\n", 0o755);
    }
    root
}

fn copy_units(from: &Path, to: &Path, extensions: &[&str]) {
    for entry in fs::read_dir(from).expect("a folder of units") {
        let path = entry.expect("a name").path();
        let is_wanted =
            extensions.iter().any(|extension| path.extension().is_some_and(|is| is == *extension));
        if is_wanted && path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
}

/// The output of `systemd-analyze verify` for our units below `root`.
fn verified(root: &Room) -> String {
    let mut command = Command::new("systemd-analyze");
    command.args(["--man=no", "verify", "--root"]).arg(root.path());
    command.args(["pushkeys-syncd.service", "pushkeys-server.service", "pushkeys-server.socket"]);
    let finished = run(&mut command);
    finished.stdout + &finished.stderr
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let root = root_with_units();
    assert_eq!(verified(&root), "");
    let unit = root.join("usr/lib/systemd/system/pushkeys-syncd.service");
    let text = fs::read_to_string(&unit).expect("a unit").replace("ProtectClock=", "ProtectCluck=");
    fs::write(&unit, text).expect("own file");
    assert!(verified(&root).contains("Unknown key 'ProtectCluck'"), "a mistake would be reported");
}

#[test]
fn the_units_have_a_low_exposure() {
    let security = |unit: &Path| {
        run(Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold", EXPOSURE_MAX])
            .arg(unit))
    };
    for name in ["pushkeys-syncd.service", "pushkeys-server.service"] {
        let unit = Path::new(UNITS).join(name);
        let finished = security(&unit);
        assert!(finished.status.success(), "{}", finished.stdout);
        let room = Room::temporary();
        let text = fs::read_to_string(&unit).expect("a unit").replace("SystemCallFilter=", "#");
        assert!(!security(&room.write(name, &text)).status.success(), "without its filter {name} fails");
    }
}

/// systemd's end of the notification socket.
struct Manager {
    messages: Receiver<String>,
    path: PathBuf,
    _room: Room,
}

impl Manager {
    fn start() -> Self {
        let room = Room::temporary();
        let path = room.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in an own directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&path, mode).expect("own socket");
        let (sender, messages) = channel();
        // As systemd does, it reads all the time: a daemon waits where the socket is full.
        std::thread::spawn(move || {
            let mut message = vec![0; MESSAGE_BYTES_MAX];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(message.get(..length).expect("within bounds"));
                if sender.send(text.into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { messages, path, _room: room }
    }

    fn watch(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", WATCHDOG_US);
    }

    /// Reads messages until one has the line `wanted`.
    #[track_caller]
    fn receives(&self, wanted: &str) {
        for _ in 0..MESSAGES_MAX {
            let text = self.messages.recv_timeout(PATIENCE).expect("the daemon reports in time");
            if text.lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
        panic!("{MESSAGES_MAX} messages without `{wanted}`");
    }
}

/// A key service whose configured port is not available: its socket must come from systemd.
struct ActivatedService {
    room: Room,
    listener: TcpListener,
}

impl ActivatedService {
    fn prepare() -> Self {
        let room = Room::temporary();
        let path = room.path().display();
        let text = format!(
            "listen = \"192.0.2.1:1\"\ndatabase = \"sqlite://{path}/pushkeys.db\"\nsecret_file = \"{path}/secret\"\n"
        );
        let _ = room.write("server.toml", &text);
        Self { room, listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port") }
    }

    /// Starts the service like systemd, with the socket as its fourth descriptor.
    fn start(&self, manager: &Manager) -> Process {
        let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let mut command = as_user("root", "sh");
        let socket = self.listener.try_clone().expect("a descriptor");
        command.args(["-euc", script, "sh"]).arg(program(Program::Server));
        command.arg("--config").arg(self.room.join("server.toml")).arg("serve");
        manager.watch(&mut command);
        Process::spawn_with_input("pushkeys-server", command, OwnedFd::from(socket), &self.room.join("log"))
    }

    fn client(&self) -> Client {
        let address = self.listener.local_addr().expect("a bound socket");
        Client::new(&format!("http://{address}"), None)
    }
}

#[test]
fn the_service_notifies_systemd_that_it_is_ready_alive_and_stopping() {
    let (manager, service) = (Manager::start(), ActivatedService::prepare());
    let mut process = service.start(&manager);
    manager.receives("READY=1");
    manager.receives("WATCHDOG=1");
    manager.receives("WATCHDOG=1");
    assert!(process.stop().success());
    manager.receives("STOPPING=1");
}

#[test]
fn a_restart_of_the_service_refuses_no_connection() {
    const RESTARTS: usize = 3;
    let (manager, service) = (Manager::start(), ActivatedService::prepare());
    let mut process = service.start(&manager);
    manager.receives("READY=1");
    let (client, is_over) = (service.client(), AtomicBool::new(false));
    let address = service.listener.local_addr().expect("a bound socket");
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                // A new connection each time: a keep-alive connection would end with the process.
                TcpStream::connect(address).expect("the socket is always there");
                count += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            count
        });
        for _ in 0..RESTARTS {
            assert!(process.stop().success());
            process = service.start(&manager);
            manager.receives("READY=1");
            let reply = client.send(Method::GET, &["healthz"], None).expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(visitor.join().expect("no connection was refused") > RESTARTS);
    });
}

#[test]
fn the_daemon_notifies_systemd_that_it_is_ready_alive_reloading_and_stopping() {
    let (manager, files) = (Manager::start(), HostFiles::install());
    let keys = files.room().join("keys");
    fs::create_dir(&keys).expect("own directory");
    let source =
        format!("[[source]]\nname = \"local\"\nkind = \"directory\"\npath = \"{}\"\n", keys.display());
    let syncd = Syncd::configure(files.room(), &files.syncd_configuration(&source));
    let mut command = as_user("pushkeys", program(Program::Syncd));
    command.arg("--config").arg(syncd.configuration());
    manager.watch(&mut command);
    let mut process = Process::spawn("pushkeys-syncd", command, &files.room().join("log"));
    manager.receives("READY=1");
    until("the cache is there when the daemon is ready", || files.cache().join("local/HEAD").exists());
    manager.receives("WATCHDOG=1");
    manager.receives("WATCHDOG=1");
    let _ = run(Command::new("kill").args(["-HUP", &process.pid().to_string()])).output();
    manager.receives("RELOADING=1");
    manager.receives("READY=1");
    assert!(process.stop().success());
    manager.receives("STOPPING=1");
}
