//! C5, C9, C15, C20 and C21: the contents of a line.

use pushkeys_keys::{Fingerprint, LINE_BYTES_MAX};
use pushkeys_tests::{
    Agent, Double, HostFiles, Key, PushHost, Room, SecurityKey, Service, give_to_syncd, response, run,
    snapshot, string, until,
};
use serde_json::json;

use crate::interpose;

#[test]
fn c05_no_user_input_reaches_the_line() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    let shell = host.files().programs().join("pushkeys-shell");
    let names = [
        "\" ssh-ed25519 AAAA",
        "\",command=\"/bin/sh",
        "a\\",
        "%u %h",
        "`id`$(id)",
        "environment=\"A=B\"",
        "é🔑",
    ];
    for name in names {
        let key = Key::generate(&["-t", "ed25519", "-C", name]);
        ana.adds(&key, name);
        host.learns(&key);
        let line = host.lookup("git", &key.fingerprint()).stdout;
        let start =
            format!("restrict,command=\"{} --cache {} --account ", shell.display(), host.cache().display());
        let end = format!(" --fingerprint {}\" {}\n", key.fingerprint(), key.bare_text());
        let ids = line
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(&end))
            .unwrap_or_else(|| panic!("{line}"));
        let (account, key_id) = ids.split_once(" --key ").expect("two ids");
        assert_eq!(account, ana.id());
        assert!(key_id.parse::<pushkeys_keys::KeyId>().is_ok(), "{key_id}");
        host.login("git", &key).succeeds_as(&ana);
    }
}

#[test]
fn c05_a_name_with_a_line_break_is_refused() {
    let service = Service::start();
    let (ana, key) = (service.account("ana"), Key::ed25519());
    for name in ["a\nssh-ed25519 AAAA", "a\rb", "a\u{2028}b", "a\u{0}b"] {
        let reply = ana.tries_to_add(key.text(), name).expect("an answer");
        assert_eq!((reply.status, reply.id()), (400, Some(505)), "{name:?}: {reply:?}");
    }
    ana.adds(&key, "a");
}

#[test]
fn c09_sshd_and_the_cache_agree_on_every_type_of_key() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    for arguments in [
        ["-t", "ed25519", "-b", "256"],
        ["-t", "rsa", "-b", "2048"],
        ["-t", "ecdsa", "-b", "256"],
        ["-t", "ecdsa", "-b", "384"],
        ["-t", "ecdsa", "-b", "521"],
    ] {
        let key = Key::generate(&arguments);
        ana.adds(&key, &arguments.join(" "));
        host.learns(&key);
        host.login("git", &key).succeeds_as(&ana);
    }
    for token in [SecurityKey::ed25519(), SecurityKey::ecdsa()] {
        let (text, fingerprint) = (token.text(), token.fingerprint());
        let reply = ana.tries_to_add(&text, "token").expect("an answer");
        assert_eq!(reply.status, 200, "{text}: {reply:?}");
        until("the host has the token", || !host.lookup("git", &fingerprint).stdout.is_empty());
        let agent = Agent::start(token);
        let socket = format!("IdentityAgent={}", agent.socket().display());
        let with_token = ["-o", "IdentitiesOnly=no", "-o", &socket];
        host.login_without_key("git").with_arguments(&with_token).succeeds_as(&ana);
        ana.removes("token");
    }
}

#[test]
fn c09_a_certificate_is_looked_up_by_its_key_and_gives_no_access_by_itself() {
    let (service, room) = (Service::start(), Room::root_owned());
    let calls = room.write_with_mode("calls", "", 0o666);
    let script = format!("for last; do :; done; echo \"$last\" >>{}; exec \"$@\"", calls.display());
    let authority = Key::ed25519();
    let host = PushHost::start_with(&service, |sshd| {
        interpose(sshd, &room, &script);
        sshd.global = format!("TrustedUserCAKeys {}", authority.path().with_extension("pub").display());
    });
    let (ana, key) = (service.account("ana"), Key::ed25519());
    let mut sign = std::process::Command::new("ssh-keygen");
    sign.args(["-q", "-I", "me", "-n", "git", "-s"])
        .arg(authority.path())
        .arg(key.path().with_extension("pub"));
    let _ = run(&mut sign).output();

    host.login("git", &key).is_refused();
    let asked = std::fs::read_to_string(&calls).expect("own file");
    assert!(asked.lines().count() >= 2, "the certificate and the plain key were offered: {asked}");
    assert!(asked.lines().all(|line| line == key.fingerprint().to_string()), "{asked}");

    ana.adds(&key, "laptop");
    host.learns(&key);
    host.login("git", &key).succeeds_as(&ana);
    let certificate =
        std::fs::read_to_string(key.path().with_file_name("key-cert.pub")).expect("ssh-keygen wrote it");
    let reply = ana.tries_to_add(certificate.trim_end(), "certificate").expect("an answer");
    assert_eq!((reply.status, reply.id()), (400, Some(505)), "{reply:?}");
}

/// A point of order 1 and one of order 8 (RFC 8032's neutral element, and one from the list of Chalkias and others),
/// and an RSA key for which every signature is valid.
fn degenerate_keys() -> Vec<String> {
    let ed25519 = |point: &[u8]| [string(b"ssh-ed25519"), string(point)].concat();
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let order_8: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let modulus = [[0, 0xc1].as_slice(), &[0x35; 254], &[0x77]].concat();
    let rsa = [string(b"ssh-rsa"), string(&[1]), string(&modulus)].concat();
    let text = |name: &str, blob: &[u8]| format!("{name} {}", data_encoding::BASE64.encode(blob));
    vec![
        text("ssh-ed25519", &ed25519(&neutral)),
        text("ssh-ed25519", &ed25519(&order_8)),
        text("ssh-rsa", &rsa),
    ]
}

#[test]
fn c15_degenerate_keys_are_refused_by_the_service() {
    let service = Service::start();
    let ana = service.account("ana");
    for text in degenerate_keys() {
        let reply = ana.tries_to_add(&text, "degenerate").expect("an answer");
        assert_eq!((reply.status, reply.id()), (400, Some(505)), "{text}: {reply:?}");
    }
    assert_eq!(ana.keys(), []);
    ana.adds(&Key::ed25519(), "laptop");
}

#[test]
fn c15_degenerate_keys_are_refused_again_by_the_host() {
    let key = Key::ed25519();
    let files = HostFiles::install();
    let folder = files.room().join("local");
    std::fs::create_dir(&folder).expect("own directory");
    let texts = [degenerate_keys(), vec![key.text().to_owned()]].concat().join("\n");
    let _ = files.room().write_with_mode("local/ops.pub", &texts, 0o644);
    give_to_syncd(&folder.join("ops.pub"), 0o644);
    give_to_syncd(&folder, 0o755);
    let source =
        format!("[[source]]\nname = \"api\"\nkind = \"directory\"\npath = \"{}\"\n", folder.display());
    let host = PushHost::assemble(files, &source, |_| {});

    host.learns(&key);
    let listed = host.pushkeys(&["list", "--json"]).output();
    assert_eq!(
        listed.matches("SHA256:").count(),
        listed.matches(&key.fingerprint().to_string()).count(),
        "{listed}"
    );
}

#[test]
fn c20_a_client_sees_no_secret() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let (key, other) = (Key::ed25519(), Key::ed25519());
    ana.adds(&key, "laptop");
    bob.adds(&other, "tower");
    host.learns(&key);
    host.learns(&other);

    let session = host.login("git", &key).with_arguments(&["-vvv"]).opens();
    assert_eq!(session.code, Some(0), "{session:?}");
    let seen = session.stdout + &session.stderr;
    let token = std::fs::read_to_string(host.files().room().join("token")).expect("own file");
    for secret in [token.trim(), ana.token(), bob.token(), bob.id(), &other.fingerprint().to_string()] {
        assert!(!seen.contains(secret), "`{secret}` is in: {seen}");
    }
    assert!(seen.contains(&key.fingerprint().to_string()), "and the client's own key is");
}

#[test]
fn c21_sshd_refuses_an_expired_key() {
    let (expired, valid) = (Key::ed25519(), Key::ed25519());
    let entry = |key: &Key, id: &str, expires_at: &str| -> (Fingerprint, serde_json::Value) {
        let fingerprint = key.fingerprint();
        let json = json!({
            "fingerprint": fingerprint.to_string(), "key": key.bare_text(), "account": "acct_7", "key_id": id,
            "account_name": "ana", "expires_at": expires_at,
        });
        (fingerprint, json)
    };
    let entries =
        [entry(&expired, "key_1", "2020-01-31T12:00:00Z"), entry(&valid, "key_2", "2120-01-31T12:00:00Z")];
    let double = Double::start(response("200 OK", "application/x-ndjson", &snapshot(&entries)));
    let host = PushHost::start_polling(&double);

    let line = |key: &Key| host.lookup("git", &key.fingerprint()).stdout;
    assert!(line(&valid).contains(",expiry-time=\"21200131120000Z\" ssh-ed25519 "), "{}", line(&valid));
    assert!(line(&expired).is_empty() || line(&expired).contains(",expiry-time=\"20200131120000Z\""));
    host.login("git", &expired).is_refused();
    let session = host.login("git", &valid).opens();
    assert_eq!((session.code, session.greeted()), (Some(0), Some("ana")), "{session:?}");
    assert!(line(&valid).len() <= LINE_BYTES_MAX);
}
