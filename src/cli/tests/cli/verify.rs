use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use pushkeys_cache::Entry;

use crate::fixture::{ANA, BEN, CY, Host, entry, spoil};

#[test]
fn a_sound_cache_has_no_fault() {
    let host = Host::with_keys();
    assert_eq!(host.pushkeys(&["verify"]).is(0), "3 keys in 2 shards of 2 sources: no fault\n");
    let summary = "{\"sources\":2,\"shards\":2,\"keys\":3,\"faults\":0}\n";
    assert_eq!(host.pushkeys(&["verify", "--json"]).is(0), summary);
}

/// Checks the first line that `verify` prints after `change`.
#[track_caller]
fn check(change: impl FnOnce(&Host), expected: &str) {
    let host = Host::with_keys();
    change(&host);
    let answer = host.pushkeys(&["verify"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert!(answer.stdout.starts_with(expected), "{}", answer.stdout);
    assert!(answer.stdout.contains("fault"), "{}", answer.stdout);
    let faults = host.pushkeys(&["verify", "--json"]);
    assert_eq!(faults.status, Some(1));
    assert!(faults.stdout.starts_with("{\"file\":\"[cache]/"), "{}", faults.stdout);
}

#[test]
fn a_folder_that_is_no_source_is_named() {
    check(
        |host| fs::create_dir(host.cache().join("api-old")).unwrap(),
        "[cache]/api-old: it is no source of syncd's configuration, and no lookup reads it\n",
    );
}

#[test]
fn a_damaged_file_is_named_with_its_line() {
    let api = "[cache]/api/g1/0";
    check(
        |host| spoil(&host.shard("api"), "key_1", "key_2"),
        &format!("{api}:2: the checksum of a line does not match it\n"),
    );
    check(
        |host| spoil(&host.shard("api"), "#shard\t1", "#shard\t2"),
        &format!("{api}:1: the first or last line is not that of this shard"),
    );
    check(
        |host| {
            let text = fs::read_to_string(host.shard("api")).unwrap();
            let (before, _) = text.split_once("~end").unwrap();
            fs::write(host.shard("api"), before).unwrap();
        },
        &format!("{api}:4: the first or last line is not that of this shard"),
    );
    check(
        |host| {
            let text = fs::read_to_string(host.shard("api")).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let [first, one, two, last] = lines.as_slice() else { panic!("{text}") };
            fs::write(host.shard("api"), format!("{first}\n{two}\n{one}\n{last}\n")).unwrap();
        },
        &format!("{api}:3: the lines are out of order\n"),
    );
    check(
        |host| {
            let text = fs::read_to_string(host.shard("api")).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let [first, one, _, last] = lines.as_slice() else { panic!("{text}") };
            fs::write(host.shard("api"), format!("{first}\n{one}\n{last}\n")).unwrap();
        },
        &format!("{api}:4: the number of lines is not the one that was written\n"),
    );
    check(|host| fs::remove_file(host.shard("api")).unwrap(), "[cache]/api/g1/0: there is no");
    check(
        |host| fs::write(host.cache().join("api/HEAD"), "").unwrap(),
        "[cache]/api/HEAD: `[cache]/api/HEAD` is damaged: a line cannot be read\n",
    );
}

#[test]
fn a_line_that_is_not_its_keys_is_named() {
    let put = |line: Entry| {
        move |host: &Host| host.put("api", [Entry { line: line.line, ..entry(ANA, "acct_1", "key_1") }])
    };
    check(
        put(entry(BEN, "acct_1", "key_1")),
        "[cache]/api/g2/0:2: the key in the line is another one, SHA256:",
    );
    check(
        put(entry(ANA, "acct_2", "key_1")),
        "[cache]/api/g2/0:2: the command in the line does not name account `acct_1`\n",
    );
    let weak = "restrict,command=\"/x acct_1\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    check(
        put(Entry { line: weak.parse().unwrap(), ..entry(ANA, "acct_1", "key_1") }),
        "[cache]/api/g2/0:2: the key policy refuses the key: ",
    );
}

#[test]
fn modes_that_let_others_in_are_named() {
    let chmod = |path: &'static str, mode| {
        move |host: &Host| fs::set_permissions(host.cache().join(path), Permissions::from_mode(mode)).unwrap()
    };
    check(
        chmod("api/g1/0", 0o660),
        "[cache]/api/g1/0: `[cache]/api/g1/0` is writable by group or others (mode 0660); hint: chmod go-w ",
    );
    check(
        chmod("api/g1", 0o770),
        "[cache]/api/g1: `[cache]/api/g1` is writable by group or others (mode 0770); hint: chmod go-w ",
    );
    check(
        chmod("api", 0o755),
        "[cache]/api: `[cache]/api` is accessible to all users (mode 0755); hint: chmod o-rwx ",
    );
    check(
        chmod("api/HEAD", 0o644),
        "[cache]/api/HEAD: `[cache]/api/HEAD` is accessible to all users (mode 0644); hint: chmod o-rwx ",
    );
}

#[test]
fn a_key_of_two_accounts_is_named() {
    check(
        |host| host.put("local", [entry(ANA, "ops", "ana")]),
        "[cache]/local/g2/0:2: source `api` gives the key to account `acct_1`, and source `local` to `ops`: it is refused\n",
    );
    let host = Host::with_keys();
    host.put("local", [entry(ANA, "acct_1", "key_9"), entry(CY, "ops", "cy")]);
    assert_eq!(host.pushkeys(&["verify"]).is(0), "4 keys in 2 shards of 2 sources: no fault\n");
}

#[test]
fn sources_of_different_size_are_compared() {
    let host = Host::new();
    let many = (0..3000_u32).map(|number| Entry {
        fingerprint: pushkeys_keys::Fingerprint::of(&number.to_be_bytes()),
        ..entry(BEN, "acct_2", "key_2")
    });
    host.put("api", many.chain([entry(ANA, "acct_1", "key_1")]));
    host.put("local", [entry(ANA, "ops", "ana"), entry(CY, "ops", "cy")]);
    let answer = host.pushkeys(&["verify"]);
    assert_eq!(answer.stdout.matches("it is refused\n").count(), 1);
    assert_eq!(answer.stdout.matches("the key in the line is another one").count(), 3000);
    assert!(
        answer.stdout.contains("3,003 keys in 17 shards of 2 sources: 3,001 faults\n"),
        "{}",
        answer.stdout
    );
}

#[test]
fn the_hint_makes_a_full_sync_due() {
    let host = Host::with_keys();
    spoil(&host.shard("api"), "~end\t1", "~end\t2");
    let answer = host.pushkeys(&["verify"]);
    assert!(answer.stdout.contains("hint: while its source answers: rm the damaged file, and"), "{answer:?}");
    fs::remove_file(host.shard("api")).unwrap();
    let writer = host.writer("api");
    assert!(writer.fault().is_some());
    assert_eq!(writer.head().unwrap().cursor, None);
}
