use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use pushkeys_cache::Entry;

use crate::fixture::{ANA, BEN, CY, Host, UNKNOWN, entry, fingerprint_of, spoil};

#[test]
fn the_way_to_an_answer_is_told_step_by_step() {
    let host = Host::with_keys();
    insta::assert_snapshot!(
        "explain_accepted",
        host.pushkeys(&["explain", "git", ANA, "--log", "/dev/null"]).is(0)
    );
    insta::assert_snapshot!(
        "explain_accepted_json",
        host.pushkeys(&["explain", "git", ANA, "--json", "--log", "/dev/null"]).is(0)
    );
    insta::assert_snapshot!(
        "explain_unknown",
        host.pushkeys(&["explain", "git", UNKNOWN, "--log", "/dev/null"]).is(1)
    );
}

#[test]
fn fingerprint_file_and_text_explain_the_same() {
    let host = Host::with_keys();
    let path = host.cache().join("ana.pub");
    std::fs::write(&path, format!("{ANA} ana@laptop\n")).unwrap();
    let expected = host.pushkeys(&["explain", "git", ANA, "--log", "/dev/null"]).is(0);
    assert_eq!(
        host.pushkeys(&["explain", "git", &fingerprint_of(ANA).to_string(), "--log", "/dev/null"]).is(0),
        expected
    );
    assert_eq!(
        host.pushkeys(&["explain", "git", path.to_str().unwrap(), "--log", "/dev/null"]).is(0),
        expected
    );
}

/// Checks the conclusion on `key` after `change`, which the same key without the change does not have.
#[track_caller]
fn check(login: &str, key: &str, change: impl FnOnce(&Host), expected: &str) {
    let host = Host::with_keys();
    change(&host);
    let text = host.pushkeys(&["explain", login, key, "--log", "/dev/null"]).is(1);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_refusal_says_why() {
    check("deploy", ANA, |_| {}, "\nsshd refuses the key: it opens other logins\nhint: pushkeys show KEY\n");
    check(
        "git",
        BEN,
        |_| {},
        "sshd refuses the key, although it gets the line of source `api`: the key expired at",
    );
    let other_key = |host: &Host| {
        let line = entry(BEN, "acct_1", "key_1").line;
        host.put("api", [Entry { line, ..entry(ANA, "acct_1", "key_1") }]);
    };
    check(
        "git",
        ANA,
        other_key,
        "although it gets the line of source `api`: the key in it is another one, SHA256:",
    );
}

#[test]
fn on_a_stale_host_every_view_of_a_key_says_first_that_lookups_refuse() {
    let host = Host::new();
    host.put_until("api", [entry(ANA, "acct_1", "key_1")], Some("2020-01-31T12:00:00Z"));
    host.put("local", [entry(BEN, "ops", "ben")]);
    for (command, status) in [(&["explain", "git", ANA][..], 1), (&["show", ANA], 0), (&["list"], 0)] {
        let answer = host.pushkeys(command);
        let begin = "warning: source `api` was valid until 2020-01-31T12:00:00Z (";
        let end = " days ago), so lookups refuse every key of it\nhint: pushkeys status\n";
        assert_eq!(answer.status, Some(status), "{answer:?}");
        assert!(answer.stderr.starts_with(begin) && answer.stderr.ends_with(end), "{answer:?}");
        assert!(answer.stderr.lines().count() == 2 && !answer.stdout.is_empty(), "{answer:?}");
    }
    let explained = host.pushkeys(&["explain", "git", ANA]).stdout;
    let why = "sshd gets no answer, which it logs and treats as a refusal: source `api` was last in s";
    assert!(explained.contains(why), "{explained}");
    host.pushkeys(&["list", "--source", "local"]).is(0);
}

#[test]
fn an_outage_is_told_from_an_unknown_key() {
    let no_answer = |why: &str| format!("sshd gets no answer, which it logs and treats as a refusal: {why}");
    let conflict = |host: &Host| host.put("local", [entry(ANA, "ops", "ana")]);
    check(
        "git",
        ANA,
        conflict,
        &no_answer("source `api` gives the key to account `acct_1`, source `local` to `ops`"),
    );
    let flipped = |host: &Host| spoil(&host.shard("api"), "acct_1", "acct_2");
    check("git", ANA, flipped, &no_answer("`[cache]/api/g1/0` is damaged: the checksum of a line"));
    let cut = |host: &Host| std::fs::write(host.shard("api"), "").unwrap();
    check("git", ANA, cut, &no_answer("`[cache]/api/g1/0` is damaged: the first or last line"));
    let gone = |host: &Host| std::fs::remove_file(host.shard("api")).unwrap();
    check("git", ANA, gone, &no_answer("`[cache]/api/g1/0` is damaged: it is missing"));
    let headless = |host: &Host| std::fs::remove_file(host.cache().join("api/HEAD")).unwrap();
    check("git", ANA, headless, &no_answer("there is no `[cache]/api/HEAD`"));
    let writable = |host: &Host| {
        std::fs::set_permissions(host.shard("api"), Permissions::from_mode(0o666)).unwrap();
    };
    check("git", ANA, writable, &no_answer("`[cache]/api/g1/0` is writable by group or others (mode 0666)"));
    let all_gone = |host: &Host| std::fs::remove_dir_all(host.cache()).unwrap();
    check("git", ANA, all_gone, &no_answer("there is no `[cache]`"));
}

#[test]
fn a_second_source_serves_while_the_first_is_damaged() {
    let host = Host::with_keys();
    std::fs::write(host.shard("api"), "").unwrap();
    let text = host.pushkeys(&["explain", "git", CY, "--log", "/dev/null"]).is(0);
    assert!(text.contains("\n  no   `[cache]/api/g1/0` is damaged"), "{text}");
    assert!(
        text.contains("\nsshd accepts the key: it gets the line of source `local`\n  restrict,"),
        "{text}"
    );
}

#[test]
fn refusals_of_the_past_are_told_with_what_was_read() {
    let host = Host::with_keys();
    let (ana, ben) = (fingerprint_of(ANA), fingerprint_of(BEN));
    let log = host.cache().join("auth.log");
    let session = |key: &pushkeys_keys::Fingerprint, answered: &str| {
        format!(
            "pushkeys-shell[7]: session login=git account=acct_1 key=key_1 fingerprint={key} answered={answered} asked=shell"
        )
    };
    let lines = [
        format!(
            "Nov 24 12:00:01 push-1 pushkeys-lookup[7]: cannot answer for the key {ana}; hint: pushkeys status: it is old"
        ),
        format!("Nov 24 12:00:02 push-1 {}", session(&ana, "greeted status=0")),
        format!("Nov 24 12:00:03 push-1 {}", session(&ben, "key-removed status=1")),
        format!("2026-11-24T12:00:04+00:00 push-1 {}", session(&ana, "command-refused status=1")),
        format!(
            "Nov 24 12:00:05 push-1 sshd[8]: Invalid user x {} from 192.0.2.1",
            session(&ana, "key-expired")
        ),
    ];
    std::fs::write(&log, lines.join("\n")).unwrap();
    let explain = |more: &[&str]| {
        host.pushkeys(&[&["explain", "git", ANA, "--log", log.to_str().unwrap()], more].concat()).is(0)
    };
    let text = explain(&[]);
    let (_, past) = text.split_once("refused before, from `[cache]/auth.log`, newest first\n").unwrap();
    let past: Vec<&str> = past.lines().collect();
    assert_eq!(past.len(), 2, "{text}");
    assert!(
        past[0].starts_with("  2026-11-24T12:00:04+00:00  command-refused, key key_1, status=1"),
        "{text}"
    );
    assert!(past[1].contains("the helper could not answer") && past[1].contains("it is old"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    assert_eq!(json["log"]["refusals"].as_array().unwrap().len(), 2);
    let missing = host.pushkeys(&["explain", "git", ANA, "--log", "/nonexistent/log"]).is(0);
    assert!(
        missing.contains("past refusals are unknown: cannot read the log `/nonexistent/log`"),
        "{missing}"
    );
}

#[test]
fn an_address_that_sshd_shuts_out_is_told() {
    let host = Host::with_keys();
    let log = host.cache().join("auth.log");
    let drop = |second: u32, address: &str| {
        format!(
            "Nov 24 12:00:0{second} push-1 sshd[7]: drop connection #0 from [{address}]:4 on [198.51.100.1]:22 penalty: \
             failed authentication"
        )
    };
    let refused = format!(
        "Nov 24 12:00:01 push-1 sshd-session[8]: Failed publickey for git from 192.0.2.7 port 4 ssh2: ED25519 {}",
        fingerprint_of(ANA)
    );
    let lines = [refused, drop(2, "192.0.2.7"), drop(3, "192.0.2.7"), drop(4, "192.0.2.8")];
    std::fs::write(&log, lines.join("\n")).unwrap();
    let text = host.pushkeys(&["explain", "git", ANA, "--log", log.to_str().unwrap()]).is(0);
    let (_, past) = text.split_once("from these addresses, whatever their keys\n").unwrap();
    let expected = "  Nov 24 12:00:03  192.0.2.7, 2 times: penalty: failed authentication, where this key was refused\n  \
                    Nov 24 12:00:04  192.0.2.8, 1 time: penalty: failed authentication\n\
                    hint: pushkeys doctor, which names addresses to exempt (PerSourcePenaltyExemptList)\n";
    assert_eq!(past, expected, "{text}");
}
