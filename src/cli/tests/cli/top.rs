use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{ANA, Host, fingerprint_of};
use crate::status::say_in_step;

fn session(answered: &str) -> String {
    let fingerprint = fingerprint_of(ANA);
    format!(
        "Nov 24 12:00:01 push-1 pushkeys-shell[7]: session login=git account=acct_1 key=key_1 \
         fingerprint={fingerprint} answered={answered} status=0 asked=shell\n"
    )
}

#[test]
fn one_look_shows_sources_and_the_last_logins() {
    let host = Host::with_keys();
    say_in_step(&host, 1);
    let log = host.cache().join("auth.log");
    std::fs::write(&log, [session("greeted"), session("key-removed"), "cron[1]: x\n".to_owned()].concat())
        .unwrap();
    let log = log.to_str().unwrap().to_owned();
    let text = host.pushkeys(&["top", "--once", "--log", &log]).is(0);
    assert!(text.starts_with("pushkeys top  1 let in, 1 refused, 0 without an answer\n"), "{text}");
    assert!(text.contains("\napi ") && text.contains(" refused git acct_1 SHA256:"), "{text}");
    assert!(text.ends_with("logins are from `[cache]/auth.log`\n"), "{text}");
    let lines = host.pushkeys(&["top", "--once", "--json", "--log", &log]).is(0);
    let kinds: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, ["session", "refused"]);
    let missing = host.pushkeys(&["top", "--log", "/nonexistent/log"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (Some(1), ""));
}

#[test]
fn events_come_as_lines_where_nobody_watches_a_terminal() {
    let host = Host::with_keys();
    say_in_step(&host, 1);
    let log = host.cache().join("auth.log");
    let mut writer = File::create(&log).unwrap();
    let mut child = host
        .command(&["top", "--json", "--log", log.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What is written before the first look is not new, so both come again until one is seen.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let feeder = std::thread::spawn(move || {
        let mut keys = 1;
        while is_done.recv_timeout(std::time::Duration::from_millis(100)).is_err() {
            keys += 1;
            writer.write_all(session("greeted").as_bytes()).unwrap();
            say_in_step(&host, keys);
        }
    });
    let mut kinds = std::collections::BTreeSet::new();
    while kinds.len() < 2 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        kinds.insert(event["kind"].as_str().unwrap().to_owned());
    }
    assert!(kinds.contains("session") && kinds.contains("change"), "{kinds:?}");
    done.send(()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    feeder.join().unwrap();
}

#[test]
fn a_terminal_is_given_back_on_q_and_on_ctrl_c() {
    for key in [b"q", b"\x03"] {
        let host = Host::with_keys();
        let log = host.cache().join("auth.log");
        std::fs::write(&log, "").unwrap();
        let top = host.command(&["top", "--log", log.to_str().unwrap()]);
        let words: Vec<_> = [top.get_program()].into_iter().chain(top.get_args()).collect();
        // script(1) gives its child a terminal, and what comes in on its own standard input is typed there.
        let mut terminal = Command::new("script")
            .args(["--quiet", "--return", "--command"])
            .arg(words.join(std::ffi::OsStr::new(" ")))
            .arg("/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut typed, mut shown) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        // Only once it draws has it taken the terminal over: an earlier Ctrl-C would be the terminal's own.
        while !String::from_utf8_lossy(&seen).contains("pushkeys top") {
            let length = shown.read(&mut piece).unwrap();
            assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..length]);
        }
        typed.write_all(key).unwrap();
        shown.read_to_end(&mut seen).unwrap();
        assert!(terminal.wait().unwrap().success(), "{key:?}");
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.contains("\x1b[?1049h") && seen.contains("\x1b[?1049l"), "{seen:?}");
    }
}
