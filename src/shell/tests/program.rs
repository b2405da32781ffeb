//! Runs the program as sshd does, and checks stdout, stderr and exit status.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use jiff::Timestamp;
use pushkeys_cache::{Entry, Stamps, Writer};
use pushkeys_keys::{Fingerprint, Name};

struct Host {
    _folder: tempfile::TempDir,
    cache: PathBuf,
}

fn host() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let mut writer = Writer::open(&cache, &"api".parse().unwrap()).unwrap();
    let mut next = writer.begin().unwrap();
    next.push(Entry {
        fingerprint: Fingerprint::of(b"ana"),
        logins: vec!["git".parse().unwrap()],
        account: "acct_7".parse().unwrap(),
        key_id: "key_42".parse().unwrap(),
        account_name: Name::parse("ana").ok(),
        key_name: Name::parse("laptop").ok(),
        line: "restrict,command=\"/x --account acct_7\" ssh-ed25519 AAAA".parse().unwrap(),
    })
    .unwrap();
    let stamps = Stamps { synced_at: Timestamp::now(), valid_until: None };
    writer.commit(next.finish().unwrap(), None, stamps).unwrap();
    Host { _folder: folder, cache }
}

fn argv(cache: &Path) -> Vec<String> {
    let fingerprint = Fingerprint::of(b"ana").to_string();
    let cache = cache.to_str().unwrap();
    ["--account", "acct_7", "--key", "key_42", "--fingerprint", &fingerprint, "--cache", cache]
        .map(str::to_owned)
        .to_vec()
}

/// The program with the environment of sshd.
fn shell(argv: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushkeys-shell"));
    command.args(argv).env_clear().env("LOGNAME", "git").env("PATH", "/usr/bin:/bin");
    command
}

#[track_caller]
fn check(mut command: Command, status: i32, stdout_begins: &str, stderr_begins: &str) {
    let output = command.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(status), "{stdout}{stderr}");
    assert!(stdout.starts_with(stdout_begins) && stdout.is_empty() == stdout_begins.is_empty(), "{stdout}");
    assert!(stderr.starts_with(stderr_begins) && stderr.is_empty() == stderr_begins.is_empty(), "{stderr}");
}

#[test]
fn a_client_that_asks_for_a_shell_is_greeted() {
    let host = host();
    check(shell(&argv(&host.cache)), 0, "Hello ana, your key works.\n", "");
}

#[test]
fn a_command_is_refused_on_stderr() {
    let host = host();
    let mut command = shell(&argv(&host.cache));
    command.env("SSH_ORIGINAL_COMMAND", "git-receive-pack '\x1b]0;x'");
    check(command, 1, "", "pushkeys: `git-receive-pack '\\u{1b}]0;x'` is refused: ");
}

#[test]
fn a_removed_key_is_refused() {
    let host = host();
    let mut writer = Writer::open(&host.cache, &"api".parse().unwrap()).unwrap();
    let stamps = writer.head().unwrap().stamps;
    writer.apply(&[pushkeys_cache::Change::Remove(Fingerprint::of(b"ana"))], None, stamps).unwrap();
    check(
        shell(&argv(&host.cache)),
        1,
        "",
        "pushkeys: your key is no longer registered\nyou are known here as acct_7, by key key_42\nhint: add it ",
    );
}

#[test]
fn an_unavailable_host_reveals_no_paths_to_clients() {
    let output = shell(&argv(Path::new("/nonexistent"))).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("pushkeys: this host cannot check your key at the moment\n"), "{stderr}");
    assert!(!stderr.contains("nonexistent"), "{stderr}");
}

#[test]
fn the_identity_comes_only_from_argv() {
    let host = host();
    let mut argv = argv(&host.cache);
    argv.push("git-receive-pack".to_owned());
    check(shell(&argv), 2, "", "pushkeys: unexpected argument \"git-receive-pack\"\nhint: ");
    check(shell(&[]), 2, "", "pushkeys: `--account` is missing\nhint: ");
    argv.pop();
    let mut command = shell(&argv);
    command.env_remove("LOGNAME");
    check(command, 2, "", "pushkeys: `LOGNAME` is missing\nhint: ");
}

#[test]
fn c14_a_session_belongs_to_the_key_that_sshd_authenticated() {
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let signed = |base64: &str| {
        let path = folder.path().join("sshauth");
        std::fs::write(&path, format!("publickey ssh-ed25519 {base64}\n")).unwrap();
        let mut command = shell(&argv(&host.cache));
        command.env("SSH_USER_AUTH", path);
        command
    };
    check(signed("YW5h"), 0, "Hello ana, your key works.\n", "");
    check(
        signed("YmVu"),
        1,
        "",
        "pushkeys: this connection was authenticated by another key than the session's\nyou are known here as acct_7, ",
    );
}

#[test]
fn a_disconnected_client_causes_no_panic() {
    let host = host();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_pushkeys-shell"))
        .args(argv(&host.cache))
        .env_clear()
        .env("LOGNAME", "git")
        .stdout(Stdio::from(writer))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
