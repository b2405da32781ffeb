//! The key service in docs/own-key-api.md, which `check --contact` passes and a host follows.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Host, key, wait_for};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/own-key-api.md");

/// The service, changed somehow, until it is dropped.
struct OwnService {
    process: Child,
    port: u16,
    keys: PathBuf,
}

impl OwnService {
    /// Serves `keys`, each of the account `acct_7`.
    fn start(host: &Host, change: impl FnOnce(&str) -> String, keys: &[u64]) -> Self {
        let guide = fs::read_to_string(GUIDE).unwrap();
        let program = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let program = host.write("service.py", 0o600, &change(program));
        let token = host.write("token", 0o600, "secret\n");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let keys_file = host.path("keys.txt");
        write_keys(&keys_file, keys);
        let mut command = Command::new("python3");
        command.arg(program).arg(token).arg(&keys_file).arg(port.to_string());
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let service = Self { process, port, keys: keys_file };
        wait_for("the service listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        service
    }

    fn configure(&self, host: &Host) {
        host.configure(&format!(
            "[[source]]\nname = \"own\"\nkind = \"feed\"\nurl = \"http://127.0.0.1:{}\"\ntoken_file = \"{}\"\n",
            self.port,
            host.path("token").display()
        ));
    }
}

impl Drop for OwnService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_keys(path: &Path, numbers: &[u64]) {
    let line = |number: &u64| format!("acct_7 key_{number} {}\n", key(*number).1);
    let new = path.with_extension("new");
    fs::write(&new, numbers.iter().map(line).collect::<String>()).unwrap();
    fs::rename(new, path).unwrap();
}

/// What `check --contact` says, and whether it is satisfied.
fn check(host: &Host) -> (bool, String) {
    let output = host.run(&["check", "--contact"]);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_service_of_the_guide_passes_the_check_and_a_host_follows_it() {
    let mut host = Host::new();
    let service = OwnService::start(&host, str::to_owned, &[0, 1, 2]);
    service.configure(&host);
    let said = wait_for("it serves its keys", || {
        let (is_right, said) = check(&host);
        (is_right && said.contains("each of 3 entries can be used")).then_some(said)
    });
    assert!(
        said.contains("own: its stream of changes goes on from the snapshot, with a heartbeat"),
        "{said}"
    );
    host.start();
    host.wait_in_sync("own", 3);
    write_keys(&service.keys, &[0, 1, 3]);
    wait_for("the new key", || host.account("own", 3));
    wait_for("the removal", || host.account("own", 2).is_none().then_some(()));
}

#[test]
fn the_check_finds_what_a_service_gets_wrong() {
    let refused = |from: &str, to: &str, expected: &str| {
        let host = Host::new();
        let change = |program: &str| {
            assert!(program.contains(from), "{from}");
            program.replacen(from, to, 1)
        };
        let service = OwnService::start(&host, change, &[0, 1, 2, 3, 4]);
        service.configure(&host);
        // The keys are read in a thread of the service's own.
        let said = wait_for(expected, || Some(check(&host)).filter(|(_, said)| said.contains(expected)));
        assert!(!said.0, "{from}: {}", said.1);
    };
    refused("f\"Bearer {token}\"", "\"Bearer other\"", "this token is not that of a host");
    refused("in sorted(keys)]", "in sorted(keys, reverse=True)]", "own: the snapshot is refused");
    refused("hexdigest()", "hexdigest()[::-1]", "own: the snapshot is refused");
    refused("\"entries\": len(lines) - 1", "\"entries\": len(lines)", "own: the snapshot is refused");
    refused("text/event-stream", "text/html", "own: its stream of changes cannot be opened");
    refused("if seen == epoch else len(changes) + 1", "", "it must be `reset`");
    refused("{'sequence': sent}", "{'sequence': sent - 1}", "the heartbeat is of change");
    refused("{'sequence': sent}", "{'sequence': sent + 1}", "no event up to that came after");
    refused("return self.send(\"event: reset\\n\\n\")", "return", "ends");
    refused("if sent > len(changes):", "if True:", "asks for a snapshot right after the one of change");
}

#[test]
fn an_entry_that_no_host_can_use_is_a_warning() {
    let host = Host::new();
    let change = |program: &str| program.replacen("f\"{kind} {blob}\"", "f\"{kind} {blob[::-1]}\"", 1);
    let service = OwnService::start(&host, change, &[0, 1]);
    service.configure(&host);
    let expected = "2 of 2 entries are left out; the first: `SHA256:";
    let (is_right, said) =
        wait_for(expected, || Some(check(&host)).filter(|(_, said)| said.contains(expected)));
    assert!(is_right && said.contains("warning: own: its snapshot of change"), "{said}");
}
