//! The demo works, and leaves nothing behind.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pushkeys_tests::{Room, eventually, run, until};
use rustix::process::{Pid, Signal, kill_process};

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

/// Files that the process `pid` created, and processes with such a path in their command line.
fn left_behind(pid: u32) -> Vec<String> {
    let mark = format!("pushkeys-test-{pid}-");
    let rooms = [std::env::temp_dir().as_path(), Path::new("/usr/local/lib")].map(|parent| {
        let names = fs::read_dir(parent).expect("a directory").flatten().map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.starts_with(&mark))
            .collect::<Vec<_>>()
    });
    let processes = fs::read_dir("/proc").expect("procfs").flatten();
    let command_lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let command_lines = command_lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    rooms.concat().into_iter().chain(command_lines.filter(|line| line.contains(&mark))).collect()
}

#[test]
fn every_step_of_the_demo_succeeds() {
    let finished = run(Command::new(DEMO).arg("--once"));
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    for step in [
        "Hello ana, your key works.",
        "Permission denied (publickey)",
        "Hello bob, your key works.",
        "remote: deploy: published 1 files at ",
        "<h1>It is live.</h1>",
        "every step held",
    ] {
        assert!(finished.stdout.contains(step), "`{step}` in: {}", finished.stdout);
    }
}

/// Kills a running demo in any case.
struct Staying(Child);

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ctrl_c_ends_the_demo_and_all_that_it_started() {
    let room = Room::temporary();
    let output = fs::File::create(room.join("output")).expect("own file");
    let child = Command::new(DEMO)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .expect("the demo");
    let mut demo = Staying(child);
    let shown = || fs::read_to_string(room.join("output")).expect("own file");
    until("the demo stays up", || {
        assert!(demo.0.try_wait().expect("own child").is_none(), "{}", shown());
        shown().contains("until Ctrl-C")
    });
    assert!(shown().contains("/users/me/ssh-keys, and sign in as ana with the password"), "{}", shown());
    let pid = demo.0.id();
    assert!(left_behind(pid).len() > 3, "server, daemon and sshd are up: {:?}", left_behind(pid));

    kill_process(Pid::from_child(&demo.0), Signal::INT).expect("own child");
    eventually("the demo ends", || demo.0.try_wait().expect("own child"));
    until("nothing is left", || left_behind(pid).is_empty());
}
