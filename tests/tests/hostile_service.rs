//! No response of a key service empties or corrupts a cache, and each error is shown where a sysadmin looks.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pushkeys_keys::Fingerprint;
use pushkeys_tests::{Double, Key, PushHost, response, snapshot, until};
use serde_json::{Value, json};

const NDJSON: &str = "application/x-ndjson";

fn entry(key: &Key, id: &str) -> (Fingerprint, Value) {
    let fingerprint = key.fingerprint();
    let json = json!({
        "fingerprint": fingerprint.to_string(), "key": key.bare_text(), "account": "acct_7", "key_id": id,
        "account_name": "ana", "name": "laptop",
    });
    (fingerprint, json)
}

/// A host whose cache has `keys`, and the service that it polls.
fn in_step(keys: &[Key]) -> (Double, PushHost, String) {
    let entries: Vec<_> = keys.iter().enumerate().map(|(n, key)| entry(key, &format!("key_{n}"))).collect();
    let good = snapshot(&entries);
    let double = Double::start(response("200 OK", NDJSON, &good));
    let host = PushHost::start_polling(&double);
    for key in keys {
        host.learns(key);
    }
    (double, host, good)
}

/// Every file of the source except HEAD, whose times change.
fn shards(cache: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for generation in fs::read_dir(cache.join("api")).expect("the source").flatten() {
        let shards = fs::read_dir(generation.path()).into_iter().flatten().flatten();
        files.extend(shards.map(|shard| (shard.path(), fs::read(shard.path()).expect("root may"))));
    }
    files
}

fn is_in_step(host: &PushHost) -> bool {
    host.pushkeys(&["status"]).status.success()
}

/// Gives a host in sync the response that `spoil` makes of the good one: nothing changes except status and log, which contain `named`.
#[track_caller]
fn check(named: &str, spoil: impl FnOnce(&str) -> Vec<u8>) {
    let keys = [Key::ed25519(), Key::ed25519(), Key::ed25519()];
    let (double, host, good) = in_step(&keys);
    until("the host is in sync", || is_in_step(&host));
    let before = shards(host.cache());

    double.answers(spoil(&good));
    let status = || host.pushkeys(&["status", "--json"]).stdout;
    until(&format!("status says: {named}"), || !is_in_step(&host) && status().contains(named));
    assert!(host.syncd.log().contains(named), "the log says: {named}");
    assert_eq!(shards(host.cache()), before, "{named}");
    for key in &keys {
        let session = host.login("git", key).opens();
        assert_eq!((session.code, session.greeted()), (Some(0), Some("ana")), "{named}: {session:?}");
    }

    double.answers(response("200 OK", NDJSON, &good));
    until("the host is in sync again", || is_in_step(&host));
}

fn ok(body: &str) -> Vec<u8> {
    response("200 OK", NDJSON, body)
}

#[test]
fn an_empty_response_deletes_no_key() {
    check("does not begin with the header of a snapshot", |_| ok(""));
}

#[test]
fn a_snapshot_without_keys_deletes_no_key() {
    check("held back", |_| ok(&snapshot(&[])));
}

#[test]
fn a_truncated_response_deletes_no_key() {
    check("ended after 3 entries without a trailer", |good| {
        let (entries, _trailer) = good.trim_end().rsplit_once('\n').expect("lines");
        ok(&format!("{entries}\n"))
    });
}

#[test]
fn a_closed_connection_deletes_no_key() {
    check("broke off", |good| {
        let whole = ok(good);
        let half = whole.len() - good.len() / 2;
        whole.get(..half).expect("half of it").to_vec()
    });
}

#[test]
fn reordered_entries_are_refused() {
    check("is not above the one before it", |good| {
        let mut lines: Vec<&str> = good.lines().collect();
        lines.swap(1, 2);
        ok(&(lines.join("\n") + "\n"))
    });
}

#[test]
fn a_wrong_digest_is_refused() {
    check("digest in the trailer", |good| ok(&good.replace("\"name\":\"laptop\"", "\"name\":\"tower!\"")));
}

#[test]
fn another_type_of_document_is_refused() {
    check("content type `text/html`", |_| {
        response("200 OK", "text/html", "<!doctype html><title>Sign in</title>")
    });
}

#[test]
fn a_throttled_answer_deletes_no_key() {
    check("answered with status 429", |_| response("429 Too Many Requests", "application/json", "{}"));
}

#[test]
fn a_failing_service_deletes_no_key() {
    check("answered with status 500", |good| response("500 Internal Server Error", NDJSON, good));
}

#[test]
fn a_malformed_record_does_not_affect_other_records() {
    let keys = [Key::ed25519(), Key::ed25519(), Key::ed25519()];
    let mut entries: Vec<_> =
        keys.iter().enumerate().map(|(n, key)| entry(key, &format!("key_{n}"))).collect();
    let spoilt = entries.get_mut(1).expect("three entries");
    spoilt.1["account"] = json!("../../root\" environment=\"A=B");
    let double = Double::start(response("200 OK", NDJSON, &snapshot(&entries)));
    let host = PushHost::start_polling(&double);

    let [first, malformed, last] = &keys;
    for key in [first, last] {
        host.learns(key);
        assert_eq!(host.login("git", key).opens().code, Some(0));
    }
    host.login("git", malformed).is_refused();
    let named = malformed.fingerprint().to_string();
    until("status names the skipped entry", || host.pushkeys(&["status", "--json"]).stdout.contains(&named));
}
