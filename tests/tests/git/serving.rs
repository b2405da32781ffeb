//! git through the forced command.

use std::ffi::OsStr;
use std::fs;
use std::iter;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pushkeys_tests::{run, run_within};

use crate::world::{OutputOf as _, URL, World};

/// The number of concurrent pushes of a busy team's machines.
const PUSHES: usize = 50;

#[test]
fn a_push_is_stored_and_can_be_cloned_and_fetched() {
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
fn a_push_succeeds_while_the_service_and_the_daemon_are_down() {
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
    let world = World::start_with(|files| files.deploying("#!/bin/sh\nid -un; cat\n"));
    let said = world.pushes();
    assert!(said.contains("remote: git"), "{said}");
    assert!(
        said.contains(&format!("remote: {{\"account\":\"{}\",\"account_name\":\"ana\",", world.ana.id())),
        "{said}"
    );
    assert!(said.contains(&format!(" {} refs/heads/main", world.head().trim())), "{said}");
}

/// A gibibyte in one file, which git neither compresses nor deltifies.
const LARGE_BYTES: u64 = 1 << 30;
/// Each byte is hashed and encrypted several times.
const LARGE_PUSH_MAX: Duration = Duration::from_mins(8);

#[test]
fn a_push_of_a_gibibyte_is_stored() {
    let world = World::start();
    let large = fs::File::create(world.room.join("copy/large")).expect("own file");
    large.set_len(LARGE_BYTES).expect("a file that takes no room");
    let uncompressed = ["-c", "core.compression=0", "-c", "pack.window=0", "-C", "copy"];
    for arguments in
        [&["add", "large"][..], &["commit", "--quiet", "--message=large"], &["push", "--quiet", URL, "main"]]
    {
        let mut git = world.command(&[&uncompressed, arguments].concat());
        run_within(&mut git, LARGE_PUSH_MAX).output_of("a step of a large push");
    }
    let size = run(Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(world.repository())
        .args(["cat-file", "-s", "main:large"]))
    .output();
    assert_eq!(size.trim(), LARGE_BYTES.to_string());
}

#[test]
fn all_forms_of_urls_name_the_same_repository() {
    let world = World::start();
    world.pushes();
    let port = world.host.sshd.port();
    for url in [
        URL.to_owned(),
        "git@127.0.0.1:app".to_owned(),
        "git@127.0.0.1:/app.git".to_owned(),
        format!("ssh://git@127.0.0.1:{port}/app.git"),
        format!("ssh://git@127.0.0.1:{port}/app.git/"),
        format!("git+ssh://git@127.0.0.1:{port}/app.git"),
        format!("ssh+git://git@127.0.0.1:{port}/app"),
    ] {
        let listed = world.git(&["ls-remote", &url]);
        assert!(listed.stdout.contains("refs/heads/main"), "{url}: {listed:?}");
    }
    let other = world.git(&["ls-remote", "git@127.0.0.1:other.git"]);
    assert!(other.stderr.contains("pushkeys: ana has no repository `other` on this host\n"), "{other:?}");
}

#[test]
fn the_greeting_needs_and_gets_no_terminal() {
    let world = World::start();
    let url = format!("ssh://git@127.0.0.1:{}/app.git", world.host.sshd.port());
    let push = &format!("To push: git push {url} main");
    let session = world.host.login("git", &world.key).with_arguments(&["-T"]).opens();
    assert_eq!((session.code, session.greeted()), (Some(0), Some("ana")), "{session:?}");
    assert!(session.stdout.contains(push) && !session.stdout.contains('\r'), "{session:?}");

    let login = world.host.login("git", &world.key).with_arguments(&["-o", "RequestTTY=auto"]).into_command();
    let words: Vec<&OsStr> = iter::once(login.get_program()).chain(login.get_args()).collect();
    // script(1) gives its child a terminal.
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command"]).arg(words.join(OsStr::new(" "))).arg("/dev/null");
    let session = run(&mut terminal);
    assert!(session.status.success(), "{session:?}");
    assert!(
        session.stdout.contains("PTY allocation request failed"),
        "a terminal was asked for: {session:?}"
    );
    assert!(
        session.stdout.contains("Hello ana, your key works.") && session.stdout.contains(push),
        "{session:?}"
    );
}
