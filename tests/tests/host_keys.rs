//! The first connection: users get a host's key from the service, and only the operator decides which keys are published.

#![expect(clippy::expect_used, reason = "a helper that cannot go on fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_tests::{
    Finished, HostFiles, Key, PushHost, Room, Service, Sshd, SshdSettings, as_user, run, until,
};
use reqwest::Method;
use serde_json::json;

const PUSH_HOST: &str = "push.example.com";

/// A service with a configured `push_host`.
fn service() -> Service {
    Service::start_with(&format!("[console]\npush_host = \"{PUSH_HOST}\"\n"), &[])
}

/// A host whose sshd has `keys`, and whose daemon reports their public halves.
fn host_with(service: &Service, keys: &[&Key]) -> PushHost {
    let files = HostFiles::install();
    let source = format!("{}{}", setting(keys), files.source(service));
    PushHost::assemble(files, &source, |sshd| sshd.host_keys = private_halves(keys))
}

fn private_halves(keys: &[&Key]) -> Vec<PathBuf> {
    keys.iter().map(|key| key.path().to_owned()).collect()
}

fn setting(keys: &[&Key]) -> String {
    let files: Vec<String> =
        keys.iter().map(|key| format!("\"{}\"", key.path().with_extension("pub").display())).collect();
    format!("host_keys = [{}]\n", files.join(", "))
}

/// What the service publishes.
#[track_caller]
fn known_hosts(service: &Service) -> String {
    let reply = service.client(None).send(Method::GET, &["known_hosts"], None).expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// Runs `pushkeys-server host keys` with `arguments`.
#[track_caller]
fn host_keys(service: &Service, arguments: &[&str]) -> String {
    service.administers(&[&["host", "keys"], arguments].concat()).output()
}

/// The line by which ssh knows `key` of the push host.
fn line(key: &Key) -> String {
    format!("{PUSH_HOST} {}\n", key.bare_text())
}

/// A login at `sshd` by a client that trusts the keys in `known_hosts` alone.
fn connects(sshd: &Sshd, key: &Key, known_hosts: &Path) -> Finished {
    let mut ssh = as_user("root", "ssh");
    ssh.args(["-F", "none", "-T", "-p", &sshd.port().to_string(), "-l", "git", "-i"]).arg(key.path());
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=yes",
        "GlobalKnownHostsFile=/dev/null",
        &format!("HostKeyAlias={PUSH_HOST}"),
        &format!("UserKnownHostsFile={}", known_hosts.display()),
    ] {
        ssh.args(["-o", option]);
    }
    run(ssh.arg("127.0.0.1"))
}

#[test]
fn users_know_a_host_by_the_service_through_a_rotation() {
    let service = service();
    let (room, old, new) = (Room::temporary(), Key::ed25519(), Key::generate(&["-t", "ecdsa", "-b", "256"]));
    let host = host_with(&service, &[&old]);
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);

    // The first keys of a name are published at once.
    until("the key is published", || known_hosts(&service) == line(&old));
    let file = room.write("known_hosts", &known_hosts(&service));
    let session = connects(&host.sshd, &laptop, &file);
    assert!(session.status.success() && session.stdout.contains("Hello ana"), "{session:?}");
    let refused = connects(&host.sshd, &laptop, &room.write("empty", ""));
    assert!(refused.stderr.contains("Host key verification failed"), "{refused:?}");

    // sshd has both keys; the new one is not published before the operator accepts it.
    let cache = host.cache().to_owned();
    let rotated = Sshd::start(&SshdSettings {
        host_keys: private_halves(&[&old, &new]),
        ..SshdSettings::new(&host.files().helper())
    });
    reports(&host, &[&old], &[&old, &new]);
    let fingerprint = new.fingerprint().to_string();
    until("the new key waits", || host_keys(&service, &[]).contains(&fingerprint));
    assert_eq!(known_hosts(&service), line(&old));
    assert!(service.log().contains("has a host key that is not published for push.example.com"));
    assert!(service.administers(&["host", "list"]).output().contains("not published"));
    let status = || fs::read_to_string(cache.join("status.json")).unwrap_or_default();
    until("the host gets the answer", || status().contains(&fingerprint));

    host_keys(&service, &["accept", &fingerprint]);
    let both = known_hosts(&service);
    assert!(both.contains(&line(&old)) && both.contains(&line(&new)), "{both}");

    // A client that knows the old key learns the new one, with which it recognizes the host in the end.
    assert!(connects(&rotated, &laptop, &file).status.success());
    let learnt = fs::read_to_string(&file).expect("own file");
    assert!(learnt.contains(&new.bare_text()), "{learnt}");
    let finished = Sshd::start(&SshdSettings {
        host_keys: private_halves(&[&new]),
        ..SshdSettings::new(&host.files().helper())
    });
    reports(&host, &[&old, &new], &[&new]);
    assert!(connects(&finished, &laptop, &file).status.success());
    host_keys(&service, &["withdraw", &old.fingerprint().to_string()]);
    until("the old key is gone", || !host_keys(&service, &[]).contains(&old.fingerprint().to_string()));
    assert_eq!(known_hosts(&service), line(&new));
    let fresh = room.write("fresh", &known_hosts(&service));
    assert!(connects(&finished, &laptop, &fresh).status.success());
}

/// Has the daemon report `now` in place of `before`.
fn reports(host: &PushHost, before: &[&Key], now: &[&Key]) {
    let path = host.syncd.configuration();
    let text = fs::read_to_string(path).expect("a configuration").replace(&setting(before), &setting(now));
    fs::write(path, text).expect("own file");
    let _ = run(Command::new("kill").args(["-HUP", &host.syncd.pid().to_string()])).output();
}

#[test]
fn a_stolen_host_token_publishes_no_host_key() {
    let service = service();
    let (own, foreign) = (Key::ed25519(), Key::ed25519());
    let host = host_with(&service, &[&own]);
    until("the key is published", || known_hosts(&service) == line(&own));

    let token = fs::read_to_string(host.files().room().join("token")).expect("own file");
    let thief = service.client(Some(token.trim()));
    let report = |keys: &[&str]| {
        let body = json!({ "keys": keys });
        thief.send(Method::POST, &["v1", "feed", "host-keys"], Some(body.to_string())).expect("an answer")
    };
    let reply = report(&[&foreign.bare_text()]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains(&foreign.fingerprint().to_string()), "{reply:?}");
    assert_eq!(known_hosts(&service), line(&own));

    // What is no host key is left out, and too many keys are refused.
    let sk = "sk-ssh-ed25519@openssh.com AAAA";
    for odd in ["", "ssh-ed25519 AAAA", "push.example.com ssh-ed25519 AAAA", "*\n*", sk] {
        assert_eq!(report(&[odd]).status, 200, "{odd}");
        assert_eq!(known_hosts(&service), line(&own));
    }
    assert_eq!(report(&[own.text(); 17]).status, 400);
    let stranger = service.client(Some("pkh_nobody"));
    let body = json!({ "keys": [foreign.bare_text()] });
    let reply =
        stranger.send(Method::POST, &["v1", "feed", "host-keys"], Some(body.to_string())).expect("an answer");
    assert_eq!(reply.status, 401);
}

#[test]
fn sshfp_records_are_those_of_ssh_keygen() {
    let service = service();
    let kinds = [["-t", "ed25519", "-b", "256"], ["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-b", "384"]];
    let keys = kinds.map(|arguments| Key::generate(&arguments));
    let _host = host_with(&service, &keys.each_ref());
    until("the keys are published", || known_hosts(&service).lines().count() == keys.len());
    let mut expected: Vec<String> = keys
        .iter()
        .flat_map(|key| {
            let mut print = Command::new("ssh-keygen");
            print.args(["-r", PUSH_HOST, "-f"]).arg(key.path().with_extension("pub"));
            let printed = run(&mut print).output();
            // The SHA-1 form is left out.
            let is_wanted = |line: &&str| line.split(' ').nth(4) == Some("2");
            printed.lines().filter(is_wanted).map(|line| line.replacen(' ', ". ", 1)).collect::<Vec<_>>()
        })
        .collect();
    expected.sort_unstable();
    let printed = host_keys(&service, &["--sshfp"]);
    let mut printed: Vec<&str> = printed.lines().collect();
    printed.sort_unstable();
    assert_eq!(printed, expected);
}
