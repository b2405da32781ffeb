use std::process::{Child, Command};

use pushkeys_cache::Writer;
use pushkeys_cache::status::{STATUS_FILE, Skipped, SourceStatus, State, Status};

use crate::fixture::{ANA, Host, SYNCED_AT, entry};

/// A process that the kernel lists by the daemon's name, until it is dropped, and the writer of its source.
struct Daemon {
    process: Child,
    writer: Option<Writer>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(host: &Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("pushkeys-syncd");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let process = Command::new(program).arg("600").spawn().unwrap();
        std::fs::write(folder.path().join("auth.log"), "").unwrap();
        Self { process, writer: Some(host.writer("api")), folder }
    }

    fn log(&self) -> String {
        self.folder.path().join("auth.log").to_str().unwrap().to_owned()
    }

    /// Sends `signal`, and waits until the kernel says that the process is in `state`.
    fn signal(&self, signal: &str, state: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let is_in_state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(&format!(") {state} "))
        };
        while !is_in_state() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A source with this number of `keys`, in sync.
pub(crate) fn say_in_step(host: &Host, keys: u64) {
    say_keys(host, 1, State::InStep, keys);
}

fn say(host: &Host, pid: u32, state: State) {
    say_keys(host, pid, state, 1);
}

fn say_keys(host: &Host, pid: u32, state: State, keys: u64) {
    let source = SourceStatus {
        name: "api".into(),
        kind: "feed".into(),
        state,
        since: SYNCED_AT.into(),
        keys,
        generation: Some(1),
        cursor: Some("b1946ac9-4711".into()),
        sequence_at_source: Some(4712),
        synced_at: Some(SYNCED_AT.into()),
        refresh_interval_s: None,
        valid_until: None,
        last_change_at: Some(SYNCED_AT.into()),
        last_change: Some("SHA256:x is key_42 of acct_7".into()),
        last_error: None,
        skipped: Skipped::default(),
        held: None,
        host_keys: None,
    };
    let status = Status {
        pid,
        version: "0.1.0".into(),
        started_at: SYNCED_AT.into(),
        written_at: SYNCED_AT.into(),
        config: "/etc/pushkeys/syncd.toml".into(),
        config_error: None,
        watch_error: None,
        sources: vec![source],
        conflicts_count: 0,
        conflicts: Vec::new(),
        reports: Vec::new(),
    };
    std::fs::write(host.cache().join(STATUS_FILE), status.to_json()).unwrap();
}

#[test]
fn nothing_is_wrong_while_the_daemon_runs_and_its_source_is_in_sync() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    let daemon = Daemon::start(&host);
    say(&host, daemon.process.id(), State::InStep);
    let log = daemon.log();
    let text = host.pushkeys(&["status", "--log", &log]).is(0);
    assert!(text.ends_with("\nnothing is wrong\n"), "{text}");
    let json = host.pushkeys(&["status", "--json", "--log", &log]).is(0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ok"], &json["sources"][0]["lag"]), (&true.into(), &1.into()));
    assert_eq!(json["syncd"]["sources"][0]["state"], "in-step");
    assert_eq!(json["sources"][0]["last_change"], "SHA256:x is key_42 of acct_7");
    assert_eq!(json["sources"][0]["last_change_at"], SYNCED_AT);
    assert!(
        text.contains("source `api`: last change") && text.contains(": SHA256:x is key_42 of acct_7\n"),
        "{text}"
    );

    say(&host, daemon.process.id(), State::Unreachable);
    let text = host.pushkeys(&["status"]).is(1);
    assert!(
        text.contains("wrong: source `api`: it has been unreachable since 2026-11-23T16:54:00Z\n"),
        "{text}"
    );
}

#[test]
fn a_daemon_that_only_seems_to_run_is_wrong() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    let mut daemon = Daemon::start(&host);
    say(&host, daemon.process.id(), State::InStep);
    let log = daemon.log();
    let status = |status: i32| host.pushkeys(&["status", "--log", &log]).is(status);
    daemon.signal("-STOP", "T");
    let text = status(1);
    assert!(
        text.contains(") is stopped by a signal, so no change reaches this host\nhint: kill -CONT "),
        "{text}"
    );
    daemon.signal("-CONT", "S");
    let text = status(0);
    assert!(text.ends_with("\nnothing is wrong\n"), "{text}");
    daemon.writer = None;
    let text = status(1);
    assert!(text.contains("wrong: source `api`: syncd runs and does not write it"), "{text}");
}

#[test]
fn lookups_that_could_not_answer_lately_are_wrong() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    let daemon = Daemon::start(&host);
    say(&host, daemon.process.id(), State::InStep);
    let log = daemon.log();
    let check = |seconds_ago: i64, status: i32| {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
        std::fs::write(&log, format!("{at} push-1 pushkeys-lookup[7]: cannot answer: it is damaged\n"))
            .unwrap();
        host.pushkeys(&["status", "--log", &log]).is(status)
    };
    let text = check(60, 1);
    assert!(text.contains("wrong: 1 lookup could not answer in the last 5 min; at "), "{text}");
    assert!(text.contains("the helper could not answer: cannot answer: it is damaged\n"), "{text}");
    check(301, 0);
}

#[test]
fn what_could_not_be_asked_is_named() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    let daemon = Daemon::start(&host);
    say(&host, daemon.process.id(), State::InStep);
    let text = host.pushkeys(&["status", "--log", "/nonexistent/log"]).is(0);
    let end = "not known: what lookups answered: cannot read the log `/nonexistent/log`: No such file or directory \
               (os error 2)\nhint: run it with sudo, and name the log with --log FILE\nnothing else is wrong\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_process_of_another_name_is_not_the_daemon() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    say(&host, std::process::id(), State::InStep);
    let text = host.pushkeys(&["status"]).is(1);
    assert!(
        text.contains("wrong: syncd is not running: its last report is of 2026-11-23T16:54:00Z\n"),
        "{text}"
    );
}

#[test]
fn a_cache_without_a_daemon_is_shown_as_far_as_it_goes() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1")]);
    let text = host.pushkeys(&["status"]).is(1);
    assert!(
        text.contains(
            "wrong: syncd has not run with this cache\nhint: systemctl enable --now pushkeys-syncd\n"
        )
    );
    assert!(text.contains("b1946ac9-4711"), "{text}");
}
