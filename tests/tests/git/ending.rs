//! How sessions with git end, and their log lines.

use pushkeys_tests::{run, until};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::world::{OutputOf as _, URL, World, ended, is_running};

#[test]
fn a_push_ends_without_changes_when_its_key_is_deleted() {
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
fn a_push_on_a_multiplexed_connection_ends_as_well() {
    let world = World::start();
    let (_master, shared) = world.shares_a_connection();
    let (push, pid) = world.push_that_waits(&["-o", &shared]);
    world.ana.removes("laptop");
    let (is_success, message) = ended(push);
    assert!(!is_success);
    assert!(message.contains("pushkeys: this session ends: your key is no longer registered\n"), "{message}");
    until("the hook has ended", || !is_running(&pid));
    let next = run(&mut world.command_with(&world.key, &["-o", &shared], &["ls-remote", URL]));
    assert!(next.stderr.contains("pushkeys: your key is no longer registered\n"), "{next:?}");
}

#[test]
fn no_child_outlives_its_disconnected_client() {
    let world = World::start();
    let (mut push, pid) = world.push_that_waits(&[]);
    kill_process_group(Pid::from_child(&push), Signal::KILL).expect("git and its ssh");
    let _ = push.wait();
    until("the hook has ended", || !is_running(&pid));
    until("the end is logged", || world.sessions().iter().any(|line| line.contains("answered=client-left")));
}

#[test]
fn every_session_is_one_log_line() {
    let world = World::start();
    world.pushes();
    let _ = world.asks("git-upload-pack '../x'\u{1b}[2J answered=served");
    until("both are logged", || world.sessions().len() == 2);
    let lines = world.sessions();
    let who = format!("session login=git account={} key=", world.ana.id());
    let fingerprint = format!(" fingerprint={} answered=", world.key.fingerprint());
    let names = "account_name=\"ana\" key_name=\"laptop\" address=127.0.0.1";
    for (line, answered, asked) in [
        (
            &lines[0],
            format!("served {names} status=0 duration_ms="),
            " asked=git-receive-pack repository=app",
        ),
        (
            &lines[1],
            format!("command-malformed {names} status=1 duration_ms="),
            " asked=command command=git-upload-pack '../x'\\u{1b}[2J answered=served",
        ),
    ] {
        assert!(line.contains(&who) && line.contains(&fingerprint), "{line}");
        assert!(line.contains(&answered) && line.ends_with(asked), "{line}");
    }
    for name in [" read_bytes=", " written_bytes="] {
        let (_, value) = lines[0].split_once(name).expect("what git moved");
        let bytes: u64 = value.split(' ').next().expect("a value").parse().expect("a number");
        assert!(bytes > 0, "{name}{bytes}");
        assert!(!lines[1].contains(name), "{}", lines[1]);
    }
}

#[test]
fn an_interrupted_client_leaves_no_process_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = World::start();
        let (mut push, pid) = world.push_that_waits(&[]);
        let before = World::revision(&world.repository(), "main");
        kill_process_group(Pid::from_child(&push), signal).expect("git and its ssh");
        assert!(!push.wait().expect("own child").success());
        until("the hook has ended", || !is_running(&pid));
        assert_eq!(World::revision(&world.repository(), "main"), before, "{signal:?}");
    }
}

#[test]
fn a_session_has_the_exit_status_of_git() {
    let world = World::start();
    world.pushes();
    // It waits for a silent client, and ends at the end of its input.
    assert_eq!(world.asks("git-upload-pack 'app.git'").code, Some(128));
    let archive = ["archive", "--remote", URL, "main"];
    assert!(run(&mut world.command(&archive)).status.success());
    // The hook's parent is pushkeys-shell, whose parent is git.
    world.hook("pre-receive", "kill -KILL $(cut -d ' ' -f 4 /proc/$PPID/stat)");
    world.commits("second");
    let push = world.git(&["-C", "copy", "push", URL, "main"]);
    assert!(!push.status.success());
    until("git's end is logged", || world.sessions().iter().any(|line| line.contains(" status=137 ")));
}

#[test]
fn a_push_is_logged_with_each_reference_and_its_commits() {
    let world = World::start();
    world.pushes();
    let first = world.head();
    world.commits("second");
    let refspecs = ["main", "main:refs/heads/x answered=y", "main:refs/tags/v1"];
    assert!(!world.git(&[&["-C", "copy", "push", URL], &refspecs[..]].concat()).status.success(), "no name");
    world.git(&["-C", "copy", "push", URL, "main", "main:refs/tags/v1"]).output_of("push");
    until("each is logged", || world.logged_pushes().len() == 3);
    let path = format!("{}/app.git", world.ana.id());
    let begin = format!("push login=git account={} key=", world.ana.id());
    let middle = format!(
        " fingerprint={} account_name=\"ana\" key_name=\"laptop\" address=127.0.0.1 repository=app path={path} ",
        world.key.fingerprint()
    );
    let (none, first, second) = ("0".repeat(40), first.trim(), world.head());
    let second = second.trim();
    for (line, end) in world.logged_pushes().iter().zip([
        format!("old={none} new={first} ref=refs/heads/main"),
        format!("old={first} new={second} ref=refs/heads/main"),
        format!("old={none} new={second} ref=refs/tags/v1"),
    ]) {
        assert!(line.contains(&begin) && line.contains(&middle) && line.ends_with(&end), "{line}");
    }
    // The daemon's log has the same lines, and `pushkeys log` reads it.
    let pushes = || {
        let shown = world.host.pushkeys(&["log", "--json", "--pushes", "--account", "ana", "--since", "1h"]);
        let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON lines");
        shown.output().lines().map(record).collect::<Vec<_>>()
    };
    until("the daemon has each push", || pushes().len() == 3);
    for (record, (reference, old, new)) in pushes().iter().zip([
        ("refs/heads/main", none.as_str(), first),
        ("refs/heads/main", first, second),
        ("refs/tags/v1", &none, second),
    ]) {
        let found =
            ["reference", "old", "new", "account", "repository", "path", "address"].map(|name| &record[name]);
        assert_eq!(found, [reference, old, new, world.ana.id(), "app", path.as_str(), "127.0.0.1"]);
    }
    let sessions = world
        .host
        .pushkeys(&["log", "--repository", "app", "--key", &world.key.fingerprint().to_string()])
        .output();
    assert!(sessions.contains("asked for git-receive-pack repository=app: served"), "{sessions}");
}
