//! Requests that the forced command refuses. Each was a vulnerability of another push host.

use std::fs;

use pushkeys_tests::{Key, Session, run};

use crate::world::{OutputOf as _, URL, World};

/// git-shell, 2017.
#[test]
fn an_argument_that_resembles_an_option_is_refused() {
    let world = World::start();
    for command in [
        "git-upload-pack --help",
        "git-receive-pack '--help'",
        "git-upload-pack '-x'",
        "git-upload-pack -- 'app'",
    ] {
        is_refused(&world.asks(command), command);
    }
}

/// git-shell, 2022.
#[test]
fn an_overlong_command_is_refused() {
    let world = World::start();
    let command = format!("git-receive-pack '{}'", "x".repeat(60_000));
    let session = world.asks(&command);
    is_refused(&session, "overlong");
    assert!(session.stderr.contains("at most 4096 are accepted"), "{session:?}");
}

/// gitolite, gitlab-shell.
#[test]
fn a_path_cannot_leave_its_account() {
    let world = World::start();
    let (ben, other) = (world.service.account("ben"), Key::ed25519());
    ben.adds(&other, "laptop");
    world.host.learns(&other);
    world.pushes();
    let (ana, root) = (world.ana.id().to_owned(), world.host.files().repositories());
    for path in [
        format!("../{ana}/app.git"),
        format!("/../{ana}/app.git"),
        format!("x/../../{ana}/app.git"),
        format!("{}/{ana}/app.git", root.display()),
        format!("{ana}/app.git"),
        "/etc".to_owned(),
        "~root/app.git".to_owned(),
    ] {
        let command = format!("git-upload-pack '{path}'");
        is_refused(&world.host.login("git", &other).runs(&[&command]), &command);
    }
    world.git(&["ls-remote", URL]).output_of("ls-remote");
}

/// Gogs, Soft Serve.
#[test]
fn the_environment_of_a_client_does_not_reach_git() {
    let world = World::start();
    world.pushes();
    world.hook("post-receive", "env >environment");
    world.commits("second");
    let variables =
        "SetEnv=GIT_PROTOCOL='version=2;id' GIT_DIR=/x PUSHKEYS_ACCOUNT=acct_1 LD_PRELOAD=/x LC_ALL=x";
    let mut push = world.command_with(
        &world.key,
        &["-o", &format!("\"{variables}\"")],
        &["-C", "copy", "push", URL, "main"],
    );
    run(&mut push).output_of("push");
    let environment = fs::read_to_string(world.repository().join("environment")).expect("the hook ran");
    for absent in ["GIT_PROTOCOL", "LD_PRELOAD", "LC_ALL", "SSH_", "USER=", "acct_1\n", "GIT_DIR=/x"] {
        assert!(!environment.contains(absent), "{absent}: {environment}");
    }
    assert!(environment.contains(&format!("PUSHKEYS_ACCOUNT={}\n", world.ana.id())), "{environment}");
}

/// gitolite.
#[test]
fn a_newline_in_the_command_is_refused() {
    let world = World::start();
    let touched = world.repository();
    for command in [
        "git-receive-pack 'app'\nid",
        "git-receive-pack 'a\npp'",
        "git-receive-pack\n'app'",
        "\ngit-receive-pack 'app'",
    ] {
        is_refused(&world.asks(command), command);
    }
    assert!(!touched.exists(), "no repository was made");
    world.pushes();
    assert!(touched.exists());
}

#[track_caller]
fn is_refused(session: &Session, command: &str) {
    assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{command}: {session:?}");
    assert!(session.stderr.contains("pushkeys: ") && session.stderr.len() < 2_000, "{command}: {session:?}");
}
