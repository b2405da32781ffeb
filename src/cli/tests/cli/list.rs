use crate::fixture::{ANA, BEN, CY, Host, UNKNOWN, entry, expiring_entry, fingerprint_of, spoil};

#[test]
fn keys_are_listed_for_people_and_for_programs() {
    let host = Host::with_keys();
    insta::assert_snapshot!("list", host.pushkeys(&["list"]).is(0));
    insta::assert_snapshot!("list_json", host.pushkeys(&["list", "--json"]).is(0));
}

#[test]
fn a_key_is_listed_that_matches_everything_asked_for() {
    let host = Host::with_keys();
    let ana = fingerprint_of(ANA).to_string();
    let check = |arguments: &[&str], expected: &[&str]| {
        let lines = host.pushkeys(&[&["list", "--json"], arguments].concat()).is(0);
        let ids: Vec<String> = lines
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["key_id"].as_str().unwrap().into()
            })
            .collect();
        assert_eq!(ids, expected, "{arguments:?}");
    };
    check(&["--account", "acct_1"], &["key_1"]);
    check(&["--account", "ana"], &["key_1"]);
    let answer = host.pushkeys(&["list", "--account", "acct_9"]);
    let expected =
        "error: no source of this host has an account with the id or name `acct_9`\nhint: did you mean acct_";
    assert!(answer.status == Some(1) && answer.stderr.starts_with(expected), "{answer:?}");
    check(&["--login", "deploy"], &["cy"]);
    check(&["--source", "local"], &["cy"]);
    check(&["--fingerprint", &ana], &["key_1"]);
    check(&["--fingerprint", ana.get(..10).unwrap()], &["key_1"]);
    check(&["--account", "acct_1", "--source", "local"], &[]);
    check(&["--name", "LAPTOP"], &["key_1"]);
    check(&["--name", "ben"], &["key_2"]);
    check(&["--name", "nobody"], &[]);
}

#[test]
fn keys_are_listed_by_their_expiry() {
    let host = Host::new();
    let in_days = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        jiff::Timestamp::from_second(at.as_second()).unwrap().to_string()
    };
    let keys =
        [(ANA, "past", Some(-1)), (BEN, "soon", Some(10)), (CY, "later", Some(20)), (UNKNOWN, "never", None)];
    host.put(
        "api",
        keys.map(|(key, id, days)| expiring_entry(key, "acct_1", id, days.map(in_days).as_deref())),
    );
    let check = |arguments: &[&str], expected: &[&str]| {
        let lines = host.pushkeys(&[&["list", "--json"], arguments].concat()).is(0);
        let mut ids: Vec<&str> = ["past", "soon", "later", "never"]
            .into_iter()
            .filter(|id| lines.contains(&format!("\"{id}\"")))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{arguments:?}");
    };
    check(&[], &["later", "never", "past", "soon"]);
    check(&["--expired"], &["past"]);
    check(&["--expires-within", "14d"], &["past", "soon"]);
    check(&["--expires-within", "3w"], &["later", "past", "soon"]);
    assert_eq!(host.pushkeys(&["list", "--expires-within", "soon"]).status, Some(2));
}

#[test]
fn a_damaged_line_hides_no_other_and_is_told() {
    let host = Host::with_keys();
    spoil(&host.shard("api"), "acct_2", "acct_1");
    let answer = host.pushkeys(&["list", "--source", "api"]);
    assert_eq!(answer.status, Some(1));
    assert!(answer.stdout.contains("work laptop") && !answer.stdout.contains("key_2"), "{}", answer.stdout);
    assert_eq!(answer.stderr, "warning: source `api` has 1 fault\nhint: pushkeys verify\n");
}

#[test]
fn a_source_that_is_not_there_is_no_empty_list() {
    let host = Host::with_keys();
    let answer = host.pushkeys(&["list", "--source", "spi"]);
    assert_eq!((answer.status, answer.stdout.as_str()), (Some(1), ""));
    assert!(answer.stderr.starts_with("warning: there is no `[cache]/spi`\n"), "{}", answer.stderr);
}

#[test]
fn many_keys_are_listed_once_each() {
    let host = Host::new();
    let keys = (0..3000_u32).map(|number| pushkeys_cache::Entry {
        fingerprint: pushkeys_keys::Fingerprint::of(&number.to_be_bytes()),
        ..entry(ANA, "acct_1", "key_1")
    });
    host.put("api", keys);
    let lines = host.pushkeys(&["list"]).is(0);
    let mut listed: Vec<&str> = lines.lines().filter(|line| line.starts_with("git")).collect();
    assert_eq!(listed.len(), 3000);
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed.len(), 3000);
    let prefixed = host.pushkeys(&["list", "--json", "--fingerprint", "A"]).is(0);
    let expected = lines.lines().filter(|line| line.contains(" SHA256:A")).count();
    assert!(expected > 0);
    assert_eq!(prefixed.lines().count(), expected);
}
