//! The logs with hostile names, keys, commands and responses: one line for each event,
//! without control characters and without secrets.

#![expect(clippy::indexing_slicing, reason = "a helper that cannot go on fails its test")]

use std::fs;

use pushkeys_tests::{
    Account, Client, Double, HostFiles, Key, PushHost, Service, Syslog, response, snapshot, until,
};
use reqwest::Method;
use serde_json::json;

/// A new line that imitates another program, a terminal's title, a clear screen, a bell, and text from right to left.
const HOSTILE: &str = "x\nNov 24 12:00:00 push-1 sshd[1]: Accepted\r\x1b]0;title\x07\x1b[2J\u{9b}2J\u{202e}\u{2028}\u{0}\"'`$(id)%s{}\\";
const PRIVATE_HALF: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ";
const WRONG_TOKEN: &str = "pkt_NobodyHasThisTokenButItCouldBeSomebodys0";

/// Whether a terminal or a line-based reader could interpret `character`.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks every line of a program's log, which must not be empty.
#[track_caller]
fn check(program: &str, log: &str, secrets: &[&str]) {
    assert!(!log.trim().is_empty(), "{program} has logged something");
    for line in log.lines() {
        assert!(!line.chars().any(is_control), "{program}: {line:?}");
        // An imitated line must be inside a real one.
        assert!(!line.starts_with("Nov 24 12:00:00"), "{program}: {line:?}");
    }
    for secret in secrets {
        assert!(!secret.is_empty() && !log.contains(secret), "{program} has logged `{secret}`: {log}");
    }
}

/// Sends everything that an account and a stranger can send.
fn attack_service(service: &Service, ana: &Account) {
    let private =
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{PRIVATE_HALF}\n-----END OPENSSH PRIVATE KEY-----\n");
    for (text, name) in [
        (Key::ed25519().text(), HOSTILE),
        (private.as_str(), "private"),
        (&format!("ssh-ed25519 {HOSTILE}"), "hostile"),
        (HOSTILE, HOSTILE),
        ("", ""),
    ] {
        // The result does not matter; the log is checked later.
        let _ = ana.tries_to_add(text, name);
        let _ = ana.tries_to_remove(name);
    }
    for authorization in [format!("Bearer {WRONG_TOKEN}"), format!("OAuth oauth_token=\"{WRONG_TOKEN}\"")] {
        let stranger = Client::new(&service.url(), Some(authorization));
        for path in [
            &["v2", "self", "keys", HOSTILE][..],
            &["v1", "feed", "changes"],
            &["v1", "feed", "snapshot"],
            &[HOSTILE],
        ] {
            let _ = stranger.send(Method::GET, path, None);
            let _ = stranger.send(Method::PUT, path, Some(json!(HOSTILE).to_string()));
        }
    }
}

/// Responses of a key service that could forge a host's log.
fn hostile_answers() -> [Vec<u8>; 5] {
    let key = Key::ed25519();
    let fingerprint = key.fingerprint();
    let entry = |field: &str, value: &str| {
        let mut entry = json!({
            "fingerprint": fingerprint.to_string(), "key": key.bare_text(), "account": "acct_1", "key_id": "key_1",
            "account_name": HOSTILE, "name": HOSTILE,
        });
        entry[field] = json!(value);
        response("200 OK", "application/x-ndjson", &snapshot(&[(fingerprint, entry)]))
    };
    [
        entry("account", HOSTILE),
        entry("key", &format!("ssh-ed25519 {PRIVATE_HALF} {HOSTILE}")),
        entry("key_id", HOSTILE),
        response("200 OK", "text/\u{1b}[2Jhtml", HOSTILE),
        response("200 OK", "application/x-ndjson", HOSTILE),
    ]
}

#[test]
fn no_log_holds_a_control_character_or_a_secret() {
    let (service, syslog) = (Service::start(), Syslog::start());
    let double = Double::start(response("200 OK", "text/html", HOSTILE));
    let files = HostFiles::install();
    let sources = format!(
        "{}[[source]]\nname = \"other\"\nkind = \"poll\"\nurl = \"{}\"\ninterval = \"100ms\"\n",
        files.source(&service),
        double.url()
    );
    let host_token = fs::read_to_string(files.room().join("token")).expect("a token");
    let host = PushHost::assemble(files, &sources, |sshd| sshd.prelude = Some(syslog.prelude()));
    let (ana, laptop) = (service.account("ana"), Key::ed25519());

    attack_service(&service, &ana);
    ana.adds(&laptop, "laptop %s $(id) \u{1f511}");
    host.learns(&laptop);
    for answer in hostile_answers() {
        let lines = host.syncd.log().lines().count();
        double.answers(answer);
        until("the daemon reports the response", || host.syncd.log().lines().count() > lines);
    }
    for command in [
        HOSTILE.replace('\0', ""),
        "git-upload-pack '\u{1b}[2J/../x'".to_owned(),
        format!("git-receive-pack '{WRONG_TOKEN}\n'"),
    ] {
        let _ = host.login("git", &laptop).runs(&[&command]);
    }
    let _ = host.login("no\u{1b}[2Jbody", &laptop).opens();
    let _ = host.lookup("git\u{1b}[2J\n../x", &laptop.fingerprint());
    // With a damaged cache the helper logs errors.
    for shard in fs::read_dir(host.cache().join("api/g1")).expect("a generation").flatten() {
        fs::write(shard.path(), HOSTILE).expect("root may");
    }
    host.login("git", &laptop).is_refused();

    let lines = syslog.lines();
    assert!(!lines.iter().any(|line| line.contains('\n')), "a message is one line: {lines:?}");
    let syslog = lines.join("\n");
    assert!(syslog.contains("pushkeys-lookup[") && syslog.contains("answered=command-"), "{syslog}");
    let secrets = [ana.token(), host_token.trim(), PRIVATE_HALF];
    check("the helper and the forced command", &syslog, &secrets);
    check("pushkeys-syncd", &host.syncd.log(), &[&secrets[..], &[WRONG_TOKEN]].concat());
    check("pushkeys-server", &service.log(), &[&secrets[..], &[WRONG_TOKEN]].concat());
}
