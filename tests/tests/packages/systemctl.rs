//! `systemctl` on a machine without systemd: it starts and stops the services of the packages' units, as their users and
//! with their credentials, and waits until the daemons are ready.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;

use pushkeys_tests::{PATIENCE, Process, run};

use crate::root::Machine;

const UNITS: &str = "/usr/lib/systemd/system";
const PROGRAM: &str = "/usr/local/bin/systemctl";
const ASKED: &str = "/run/systemctl.asked";
const ANSWERED: &str = "/run/systemctl.answered";
/// The script, which passes on one command at a time.
const SCRIPT: &str = "#!/bin/sh
echo \"$*\" >/run/systemctl.asked
read -r status </run/systemctl.answered
exit \"$status\"
";
/// The command that ends it.
const OVER: &str = "over";

/// Runs `body` with `systemctl` on `machine`; the services that it started and did not stop end with it.
pub(crate) fn with_systemctl(machine: &Machine, body: impl FnOnce()) {
    /// Ends the other thread even if the body panics.
    struct End(File);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = writeln!(self.0, "{OVER}");
        }
    }

    fs::write(machine.path(PROGRAM), SCRIPT).expect("own file");
    fs::set_permissions(machine.path(PROGRAM), Permissions::from_mode(0o755)).expect("own file");
    for pipe in [ASKED, ANSWERED] {
        let _ = run(Command::new("mkfifo").arg(machine.path(pipe))).output();
    }
    // Opened for reading and writing, so that it neither blocks nor gets an end of file.
    let orders = File::options().read(true).write(true).open(machine.path(ASKED)).expect("own pipe");
    thread::scope(|scope| {
        let end = End(orders.try_clone().expect("a descriptor"));
        scope.spawn(move || serve(machine, orders));
        body();
        drop(end);
    });
    for path in [PROGRAM, ASKED, ANSWERED] {
        fs::remove_file(machine.path(path)).expect("own file");
    }
}

/// Runs commands until the end. Daemons die with the thread that starts them, which is this one.
fn serve(machine: &Machine, orders: File) {
    let mut running = HashMap::new();
    for order in BufReader::new(orders).lines() {
        let order = order.expect("own pipe");
        if order == OVER {
            return;
        }
        let status = u8::from(!follow(machine, &order, &mut running));
        let mut answer = File::options().write(true).open(machine.path(ANSWERED)).expect("own pipe");
        writeln!(answer, "{status}").expect("a waiting client");
    }
}

/// Whether the command succeeded.
fn follow(machine: &Machine, order: &str, running: &mut HashMap<String, Process>) -> bool {
    let mut words = order.split(' ').filter(|word| !word.starts_with('-'));
    let verb = words.next().unwrap_or_default();
    let units =
        words.map(|word| if word.contains('.') { word.to_owned() } else { format!("{word}.service") });
    for unit in units {
        if !machine.path(UNITS).join(&unit).exists() {
            return false;
        }
        let is_socket = unit.ends_with(".socket");
        match verb {
            // Without systemd, the daemon binds the address itself.
            "start" | "enable" | "restart" | "stop" if is_socket => {}
            "stop" | "restart" => {
                if let Some(mut daemon) = running.remove(&unit) {
                    assert!(daemon.stop().success(), "{unit}: {}", daemon.log());
                }
            }
            "start" | "enable" => {}
            _ => return false,
        }
        let is_wanted = verb != "stop" && !is_socket;
        if is_wanted && !running.contains_key(&unit) {
            running.insert(unit.clone(), machine.starts_unit(&unit));
        }
    }
    true
}

/// The value of `name` in a unit.
fn value<'a>(unit: &'a str, name: &str) -> Option<&'a str> {
    unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

impl Machine {
    /// Starts the daemon of `unit` like systemd, and waits until it is ready.
    pub(crate) fn starts_unit(&self, unit: &str) -> Process {
        let text = self.read(&format!("{UNITS}/{unit}"));
        let user = value(&text, "User").expect("a user of its own");
        if let Some(folder) = value(&text, "RuntimeDirectory") {
            self.runs(&["install", "-d", "-o", user, "-m", "0755", &format!("/run/{folder}")]);
        }
        self.gives_credentials(&text, unit, user);

        let socket = self.path("/run/notify");
        let _ = fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("own file");
        notices.set_read_timeout(Some(PATIENCE)).expect("a limit");

        let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let mut words = vec!["setpriv", &uid, &gid, "--init-groups", "--inh-caps=-all", "--"];
        words.extend(value(&text, "ExecStart").expect("a program").split(' '));
        let mut command = self.command(&words);
        command.env("NOTIFY_SOCKET", "/run/notify");
        let process = Process::spawn(unit, command, &self.path(&format!("/tmp/{unit}.log")));
        let mut notice = [0; 1024];
        loop {
            let length =
                notices.recv(&mut notice).unwrap_or_else(|error| panic!("{unit} is not ready: {error}"));
            let said = String::from_utf8_lossy(notice.get(..length).unwrap_or_default());
            if said.lines().any(|line| line == "READY=1") {
                return process;
            }
        }
    }

    /// Gives the daemon's user the credentials of `LoadCredential` and `SetCredential`.
    fn gives_credentials(&self, text: &str, unit: &str, user: &str) {
        let folder = format!("/run/credentials/{unit}");
        self.runs(&["sh", "-euc", "rm -rf \"$1\"; install -d -o \"$2\" -m 0500 \"$1\"", "sh", &folder, user]);
        let mut files = Vec::new();
        for line in text.lines() {
            if let Some((name, value)) =
                line.strip_prefix("SetCredential=").and_then(|rest| rest.split_once(':'))
            {
                files.push((name.to_owned(), value.as_bytes().to_vec()));
            } else if let Some((name, from)) =
                line.strip_prefix("LoadCredential=").and_then(|rest| rest.split_once(':'))
            {
                let from = self.path(from);
                for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
                    let name = format!("{name}_{}", entry.file_name().to_string_lossy());
                    files.push((name, fs::read(entry.path()).expect("root may")));
                }
                files.extend(fs::read(&from).ok().map(|bytes| (name.to_owned(), bytes)));
            }
        }
        // In the unit, loaded credentials come before defaults.
        files.reverse();
        for (name, bytes) in files {
            let path = format!("{folder}/{name}");
            fs::write(self.path(&path), bytes).expect("own file");
            self.runs(&["chown", user, &path]);
            self.runs(&["chmod", "0400", &path]);
        }
    }
}
