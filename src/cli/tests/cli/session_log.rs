use std::fs;
use std::path::PathBuf;

use crate::fixture::{ANA as ANA_KEY, BEN as BEN_KEY, Host, fingerprint_of};

/// A host on which something was done on three days.
fn host() -> Host {
    let host = Host::with_keys();
    let ids = |account: &str, key: &str, text: &str| {
        format!("login=git account={account} key={key} fingerprint={}", fingerprint_of(text))
    };
    let (ana, ben) = (ids("acct_1", "key_1", ANA_KEY), ids("acct_2", "key_2", BEN_KEY));
    let (none, one, two) = ("0".repeat(40), "1".repeat(40), "2".repeat(40));
    let names = "account_name=\"ana\" key_name=\"work laptop\" address=192.0.2.1";
    let days = [
        (
            "2026-11-21",
            vec![format!("09:00:00Z session {ana} answered=greeted {names} status=0 asked=shell")],
        ),
        (
            "2026-11-23",
            vec![
                format!(
                    "08:00:00Z push {ana} {names} repository=app path=acct_1/app.git old={none} new={one} ref=refs/heads/main"
                ),
                format!(
                    "08:00:01Z session {ana} answered=served {names} status=0 asked=git-receive-pack repository=app"
                ),
            ],
        ),
        (
            "2026-11-24",
            vec![format!(
                "10:00:00Z push {ben} repository=app path=shared/app.git old={one} new={two} ref=refs/tags/\\u{{1b}}[2J"
            )],
        ),
    ];
    fs::create_dir(file(&host, "")).unwrap();
    for (date, lines) in days {
        let lines: Vec<String> = lines.iter().map(|line| format!("{date}T{line}")).collect();
        fs::write(file(&host, date), lines.join("\n")).unwrap();
    }
    host
}

fn file(host: &Host, name: &str) -> PathBuf {
    host.cache().join("SESSIONS").join(name)
}

/// How many records there are. What is said on stderr depends on how long ago these days are.
fn count(host: &Host, arguments: &[&str]) -> usize {
    let answer = host.pushkeys(&[&["log"], arguments].concat());
    assert_eq!(answer.status, Some(0), "{answer:?}");
    answer.stdout.lines().count()
}

#[test]
fn who_did_what_is_shown_and_filtered() {
    let host = host();
    insta::assert_snapshot!("log", host.pushkeys(&["log"]).is(0));
    insta::assert_snapshot!(
        "log_json",
        host.pushkeys(&["log", "--json", "--pushes", "--account", "ana"]).is(0)
    );
    let check = |arguments: &[&str], expected| assert_eq!(count(&host, arguments), expected, "{arguments:?}");
    check(&["--since", "2026-11-23"], 3);
    check(&["--since", "2026-11-23T08:00:01Z"], 2);
    check(&["--repository", "app"], 3);
    check(&["--repository", "app.git"], 3);
    check(&["--repository", "shared/app.git"], 1);
    check(&["--account", "acct_1", "--pushes"], 1);
    check(&["--account", "ana", "--repository", "other"], 0);
    check(&["--key", BEN_KEY], 1);
    check(&["--key", &fingerprint_of(ANA_KEY).to_string(), "--pushes"], 1);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_shown() {
    let host = host();
    let whole = fs::read_to_string(file(&host, "2026-11-23")).unwrap();
    let damaged = format!("{}\na line that was damaged\n{}\n{whole}", "x".repeat(100_000), "\u{fffd}");
    fs::write(file(&host, "2026-11-23"), damaged).unwrap();
    fs::write(file(&host, "2026-11-20.gz"), "").unwrap();
    fs::remove_file(file(&host, "2026-11-24")).unwrap();
    fs::create_dir(file(&host, "2026-11-24")).unwrap();
    let answer = host.pushkeys(&["log"]);
    assert_eq!((answer.status, answer.stdout.lines().count()), (Some(1), 3), "{answer:?}");
    insta::assert_snapshot!("log_damaged", answer.stderr);
    // A day that is not asked for is not read.
    fs::remove_file(file(&host, "2026-11-20.gz")).unwrap();
    fs::remove_dir(file(&host, "2026-11-24")).unwrap();
    assert_eq!(count(&host, &["--since", "2026-11-24"]), 0);
}

#[test]
fn days_that_are_no_longer_kept_are_told() {
    let host = host();
    let answer = host.pushkeys(&["log", "--since", "40d"]);
    assert!(answer.stderr.ends_with("is kept: the log holds 31 days\n"), "{answer:?}");
    host.pushkeys(&["log", "--since", "30d"]).is(0);
}

#[test]
fn a_log_that_is_not_there_is_not_an_empty_one() {
    let host = Host::with_keys();
    let answer = host.pushkeys(&["log"]);
    assert_eq!(answer.status, Some(1));
    insta::assert_snapshot!("log_missing", answer.stderr);
    fs::create_dir(file(&host, "")).unwrap();
    assert_eq!(host.pushkeys(&["log"]).is(0), "");
}

#[test]
fn an_argument_that_means_nothing_is_misuse() {
    let host = host();
    for arguments in [["log", "--since", "soon"], ["log", "--key", "MD5:01"]] {
        assert_eq!(host.pushkeys(&arguments).status, Some(2), "{arguments:?}");
    }
    insta::assert_snapshot!("log_since", host.pushkeys(&["log", "--since", "soon"]).stderr);
}
