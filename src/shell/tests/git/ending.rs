//! How sessions end: when the key is removed, when the client disconnects, and when the host asks.

use std::fs;
use std::process::Child;

use crate::world::{Host, WorkingCopy, is_running, revision, run, spawn, succeeds, text, until};

const URL: &str = "git@host:app.git";

/// A push that waits in a hook, which writes its process id to `pid`.
fn push_that_waits(host: &Host, hook: &str, before: &str) -> (WorkingCopy, Child) {
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    copy.commits(host, "second", "2");
    let pid = host.path("pid");
    host.hook(hook, &format!("{before}echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
    let push = spawn(host.git(copy.path(), &["push", "origin", "main"]));
    until("the push waits in the hook", || pid.exists());
    (copy, push)
}

/// A session in which git has sent its first data and the client is silent.
fn fetch_that_waits(host: &Host) -> Child {
    let fetch = spawn(host.shell("git-upload-pack 'app'"));
    until("git runs", || fs::read_to_string(children_of(&fetch)).is_ok_and(|children| !children.is_empty()));
    // Shortly after git's start, signals still act on the program itself.
    let status = format!("/proc/{}/status", fetch.id());
    until("signals are held", || fs::read_to_string(&status).unwrap().contains("SigBlk:\t0000000000004003"));
    fetch
}

fn children_of(process: &Child) -> String {
    format!("/proc/{0}/task/{0}/children", process.id())
}

#[test]
fn a_push_ends_without_changes_when_its_key_is_removed() {
    let host = Host::start();
    let (copy, push) = push_that_waits(&host, "pre-receive", "");
    host.removes_key();
    let output = push.wait_with_output().unwrap();
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(
        message.contains(
            "pushkeys: this session ends: your key is no longer registered\n\
             you are known here as ana (acct_7), by key my \"work\" laptop (key_42)\nhint: "
        ),
        "{message}"
    );
    assert!(!is_running(&host.path("pid")), "the hook has ended with the session");

    assert_eq!(revision(&host, &host.repository(), "main"), revision(&host, copy.path(), "main~1"));
    assert_eq!(
        revision(&host, &host.repository(), &copy.head(&host)),
        "",
        "its objects never left git's quarantine"
    );
}

#[test]
fn a_hook_that_ignores_sigterm_is_killed() {
    let host = Host::start();
    let (_, push) = push_that_waits(&host, "pre-receive", "trap '' TERM; ");
    host.removes_key();
    assert!(!push.wait_with_output().unwrap().status.success());
    until("the hook is gone", || !is_running(&host.path("pid")));
}

#[test]
fn an_idle_session_ends_when_its_key_is_removed() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let mut fetch = fetch_that_waits(&host);
    let input = fetch.stdin.take();
    host.removes_key();
    let output = fetch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("pushkeys: this session ends: "), "{}", text(&output.stderr));
    drop(input);
}

#[test]
fn an_outage_of_the_cache_ends_no_session() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    copy.commits(&host, "second", "2");
    // The cache is unavailable for longer than two checks take.
    let (cache, away) = (host.path("cache"), host.path("away"));
    host.hook("pre-receive", &format!("mv {} {}; sleep 1.2", cache.display(), away.display()));
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert_eq!(revision(&host, &host.repository(), "main"), copy.head(&host));
    assert!(!cache.exists());
    assert_eq!(run(host.shell("git-upload-pack 'app'")).status.code(), Some(1), "a new session is refused");
}

#[test]
fn no_child_outlives_its_client() {
    let host = Host::start();
    let (_, mut push) = push_that_waits(&host, "post-receive", "trap '' TERM; exec >/dev/null 2>&1; ");
    push.kill().unwrap();
    push.wait().unwrap();
    until("the hook is gone", || !is_running(&host.path("pid")));
}

#[test]
fn background_processes_of_a_hook_end_with_the_session() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    host.hook(
        "post-receive",
        &format!("sleep 1000 >/dev/null 2>&1 & echo $! >{}", host.path("pid").display()),
    );
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    until("the background is gone", || !is_running(&host.path("pid")));
}

#[test]
fn signals_are_passed_on() {
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let host = Host::start();
        let copy = host.copy("copy", URL);
        succeeds(host.git(copy.path(), &["push", "origin", "main"]));
        let mut fetch = fetch_that_waits(&host);
        let input = fetch.stdin.take();
        let git = fs::read_to_string(children_of(&fetch)).unwrap();
        fs::write(host.path("pid"), git).unwrap();
        let pid = fetch.id().to_string();
        let mut kill = std::process::Command::new("sh");
        kill.args(["-c", &format!("kill -s {signal} {pid}")]);
        succeeds(kill);
        assert_eq!(fetch.wait_with_output().unwrap().status.code(), Some(status), "{signal}");
        assert!(!is_running(&host.path("pid")), "{signal}");
        drop(input);
    }
}
