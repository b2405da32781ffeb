//! What holds for every command.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::fixture::{ANA, Host};

#[test]
fn help_says_what_every_command_does() {
    let host = Host::new();
    let help = |command: &[&str]| host.pushkeys(&[command, &["--help"]].concat()).is(0);
    insta::assert_snapshot!("help", help(&[]));
    for command in ["status", "list", "show", "explain", "verify", "top", "log", "doctor", "revoke", "accept"]
    {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command]));
    }
}

#[test]
fn what_is_not_a_name_never_becomes_part_of_a_path() {
    let host = Host::with_keys();
    let check = |arguments: &[&str], expected: &str| {
        let answer = host.pushkeys(arguments);
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    };
    check(&["accept", "../../etc"], "is not a source name");
    check(&["list", "--source", "api/../local"], "is not a source name");
    check(&["list", "--fingerprint", "../x"], "a fingerprint begins with `SHA256:`");
    check(&["explain", "git/../x", ANA], "is not a login name");
    check(&["show", "SHA256:short"], "43 characters");
    check(&["show", "[cache]/nothing.pub"], "cannot read the key file");
    check(&["frobnicate"], "unrecognized subcommand");
    check(&[], "Usage: pushkeys");
}

#[test]
fn without_a_cache_every_command_says_what_to_do() {
    let host = Host::new();
    for arguments in [&["status"][..], &["list"], &["show", ANA], &["verify"], &["accept", "api"]] {
        let answer = host.pushkeys(arguments);
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        let expected = "error: there is no `[cache]`\n\
                        hint: systemctl status pushkeys-syncd, or say with --cache where the cache is\n";
        assert_eq!(answer.stderr, expected, "{arguments:?}");
    }
}

#[test]
fn a_user_who_may_not_read_the_cache_is_told_to_use_sudo() {
    let host = Host::with_keys();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("pushkeys");
    std::fs::copy(env!("CARGO_BIN_EXE_pushkeys"), &program).unwrap();
    for arguments in [&["explain", "git", ANA][..], &["show", ANA], &["list"], &["status"], &["verify"]] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command.arg("--cache").arg(host.cache()).args(arguments);
        let answer = host.answer_of(command);
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        let end = "Permission denied (os error 13)\nhint: run it with sudo, or as a member of the group `pushkeys`\n";
        assert!(answer.stderr.ends_with(end), "{answer:?}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let host = Host::with_keys();
    for arguments in [
        &["list"][..],
        &["status"],
        &["show", ANA],
        &["explain", "git", ANA, "--log", "/dev/null"],
        &["verify"],
    ] {
        let escape = '\x1b';
        assert!(!host.pushkeys(arguments).stdout.contains(escape), "{arguments:?}");
        let mut forced = host.command(arguments);
        forced.env("CLICOLOR_FORCE", "1");
        assert!(host.answer_of(forced).stdout.contains(escape), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let host = Host::with_keys();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = host.command(&["list"]);
    let output =
        command.stdout(Stdio::from(writer)).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}
