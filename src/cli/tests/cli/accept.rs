use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pushkeys_cache::Held;

use crate::fixture::{ANA, BEN, Host, SYNCED_AT, entry};

fn host_that_holds() -> Host {
    let host = Host::with_keys();
    let since = SYNCED_AT.parse().unwrap();
    host.writer("api")
        .hold(&Held { since, keys_in_force: 1000, keys_offered: 101, removed: 900, added: 1 })
        .unwrap();
    host
}

#[test]
fn what_is_held_back_is_accepted_with_yes() {
    let host = host_that_holds();
    let answer = host.pushkeys(&["accept", "api", "--yes"]);
    assert_eq!(answer.status, Some(0));
    assert!(answer.stdout.starts_with("accepted until 2"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("Z: syncd removes no more than 900 keys\n"));
    assert!(
        answer
            .stderr
            .starts_with("What source `api` removes has been held back since 2026-11-23T16:54:00Z (")
    );
    assert!(answer.stderr.ends_with(
        "\n  in force now     1,000 keys\n  at the source    101 keys\n  it removes       900 keys\n  it adds          1 key\n"
    ));
    let acceptance = host.writer("api").acceptance(jiff::Timestamp::now()).unwrap().unwrap();
    assert_eq!(acceptance.removed_max, 900);
}

#[test]
fn nothing_is_accepted_without_a_confirmation() {
    let host = host_that_holds();
    let answer = host.pushkeys(&["accept", "api"]);
    assert_eq!((answer.status, answer.stdout.as_str()), (Some(2), ""));
    let expected = "error: this needs a confirmation, and standard input is not a terminal\n\
                    hint: pushkeys accept api --yes\n";
    assert!(answer.stderr.ends_with(expected), "{}", answer.stderr);
    assert_eq!(host.writer("api").acceptance(jiff::Timestamp::now()).unwrap(), None);
}

#[test]
fn at_a_terminal_the_question_is_asked() {
    let check = |answer: &str, is_accepted: bool| {
        let host = host_that_holds();
        let accept = host.command(&["accept", "api"]);
        let words: Vec<_> = [accept.get_program()].into_iter().chain(accept.get_args()).collect();
        // script(1) gives its child a terminal, and what comes in on its own standard input is typed there.
        let mut terminal = Command::new("script")
            .args(["--quiet", "--return", "--command"])
            .arg(words.join(OsStr::new(" ")))
            .arg("/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        terminal.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        assert_eq!(terminal.wait().unwrap().success(), is_accepted, "{answer:?}");
        let acceptance = host.writer("api").acceptance(jiff::Timestamp::now()).unwrap();
        assert_eq!(acceptance.is_some(), is_accepted, "{answer:?}");
    };
    check("y\n", true);
    check("yes\n", true);
    check("n\n", false);
    check("\n", false);
    check("maybe yes\n", false);
}

#[test]
fn where_nothing_is_held_back_nothing_is_accepted() {
    let host = Host::with_keys();
    assert_eq!(host.pushkeys(&["accept", "api", "--yes"]).is(1), "nothing of source `api` is held back\n");
    assert_eq!(host.writer("api").acceptance(jiff::Timestamp::now()).unwrap(), None);
    let answer = host.pushkeys(&["accept", "api", "--yes", "--json"]).is(1);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["accepted"], &answer["held"]), (&false.into(), &serde_json::Value::Null));
}

#[test]
fn what_root_accepts_is_the_daemons_to_read() {
    let host = Host::new();
    host.put("api", [entry(ANA, "acct_1", "key_1"), entry(BEN, "acct_2", "key_2")]);
    let since = SYNCED_AT.parse().unwrap();
    host.writer("api")
        .hold(&Held { since, keys_in_force: 2, keys_offered: 0, removed: 2, added: 0 })
        .unwrap();
    let daemon = 65_534;
    give(&host.cache(), daemon);
    assert_eq!(host.pushkeys(&["accept", "api", "--yes"]).status, Some(0));
    let accepted = std::fs::metadata(host.cache().join("api/ACCEPT")).unwrap();
    assert_eq!((accepted.uid(), accepted.mode() & 0o777), (daemon, 0o640));
}

/// Gives `path` and everything in it to `user`, which takes root, as `make test` does.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), None).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}
