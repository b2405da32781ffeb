//! The commands that end by themselves: what they print, and their exit status.

use crate::support::{Answer, Host, Service, entry, key, snapshot, with_type};

#[test]
fn sync_once_prints_what_became_of_every_source() {
    let service = Service::start();
    service.holds(&[entry(0, "acct_7"), entry(1, "acct_7")]);
    let host = Host::new();
    host.write("keys/ana.pub", 0o644, &key(5).1);
    host.configure(&(service.feed("") + &host.directory("local", "keys")));
    let check = |code: i32, expected: &str| {
        let output = host.run(&["sync-once"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(output.status.code(), Some(code));
    };
    check(
        0,
        "api: in sync, 2 keys (2 added, 0 removed, 0 changed, 0 left out)\n\
         local: in sync, 1 keys (1 added, 0 removed, 0 changed, 0 left out)\n",
    );
    service.holds(&[]);
    check(
        1,
        "api: held back: it would remove 2 of 2 keys; hint: pushkeys accept api\n\
         local: in sync, 1 keys (0 added, 0 removed, 0 changed, 0 left out)\n",
    );
    service.answer(Answer::Bytes(with_type("text/html", &snapshot(0, &[]))));
    let output = host.run(&["sync-once", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem: pushkeys_keys::ErrorReport = serde_json::from_value(reports[0]["problem"].clone()).unwrap();
    assert!(problem.text().contains("content type `text/html`"), "{reports}");
    assert_eq!((&reports[1]["ok"], &reports[1]["keys"]), (&true.into(), &1.into()));
}

#[test]
fn a_snapshot_without_its_last_newline_is_cut_short_to_every_mode() {
    let (service, host) = (Service::start(), Host::new());
    host.configure(&service.poll(""));
    let answer =
        |body: &[u8]| service.answer(Answer::Bytes(with_type(pushkeys_feed::SNAPSHOT_MEDIA_TYPE, body)));
    let check = |arguments: &[&str], expected: Option<&str>| {
        let output = host.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), expected.is_none(), "{arguments:?}: {said}");
        assert!(expected.is_none_or(|expected| said.contains(expected)), "{arguments:?}: {said}");
    };
    // `--brief` reads no further than the first entry.
    for entries in [&[][..], &[entry(0, "acct_7")]] {
        let whole = snapshot(0, entries);
        let cut = whole.strip_suffix(b"\n").unwrap();
        let expected = Some("without a trailer line");
        for arguments in
            [&["sync-once"][..], &["compare"], &["check", "--contact"], &["check", "--contact", "--brief"]]
        {
            answer(&whole);
            check(&["sync-once"], None);
            check(arguments, None);
            answer(cut);
            let reads_no_trailer = arguments.contains(&"--brief") && !entries.is_empty();
            check(arguments, expected.filter(|_| !reads_no_trailer));
        }
    }
}

#[test]
fn a_second_writer_is_refused() {
    let service = Service::start();
    service.holds(&[entry(0, "acct_7")]);
    let mut host = Host::new();
    host.configure(&service.feed(""));
    host.start();
    host.wait_in_sync("api", 1);
    let output = host.run(&["sync-once"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("another process is writing to"), "{printed}");
}

#[test]
fn check_prints_what_is_wrong_and_contacts_no_source() {
    let service = Service::start();
    let host = Host::new();
    let token = host.write("host.token", 0o600, "secret\n");
    host.configure(&service.feed(&format!("token_file = \"{}\"", token.display())));
    let check = |code: i32, expected: &str| {
        let output = host.run(&["check"]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(expected), "{printed}");
        assert!(!printed.contains("secret\n"), "{printed}");
        assert_eq!(output.status.code(), Some(code), "{printed}");
    };
    check(0, "its credentials can be used");
    check(0, "warning: api: every login fails as long as this does: cannot read `/missing/shell`");
    host.write("host.token", 0o600, "two words\n");
    check(1, "host.token` does not hold one line of printable ASCII, a token");
    host.write("host.token", 0o604, "secret\n");
    check(1, "hint: chmod o-rwx");
    host.configure(&service.feed("tokenfile = \"x\""));
    check(1, "syncd.toml`, line 7: unknown field `tokenfile`");
    assert_eq!(service.requests(), Vec::<String>::new());
    assert!(!host.cache().exists());
}

#[test]
fn misuse_has_a_status_of_its_own() {
    let host = Host::new();
    for arguments in [
        &["--json"][..],
        &["run", "--json"],
        &["sync-once", "--contact"],
        &["check", "compare"],
        &["--once", "--check"],
        &["--colour"],
        &["extra"],
    ] {
        assert_eq!(host.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    for arguments in [&[][..], &["run"]] {
        let output = host.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("error: cannot read `"));
    }
}

#[test]
fn the_flags_of_the_version_before_stand_for_the_commands() {
    let service = Service::start();
    service.holds(&[entry(0, "acct_7")]);
    let host = Host::new();
    host.configure(&service.feed(""));
    assert_eq!(host.run(&["--once"]).status.code(), Some(0));
    let pages = host.path("pages").display().to_string();
    for (flags, command) in [
        (&["--once"][..], &["sync-once"][..]),
        (&["--json", "--once"], &["sync-once", "--json"]),
        (&["--check"], &["check"]),
        (&["--check", "--contact", "--json"], &["check", "--contact", "--json"]),
        (&["--compare"], &["compare"]),
        (&["--manual", &pages], &["manual", &pages]),
    ] {
        let (one, other) = (host.run(flags), host.run(command));
        assert_eq!(one.status.code(), Some(0), "{flags:?}: {one:?}");
        assert_eq!((one.status, one.stdout), (other.status, other.stdout), "{flags:?}");
    }
}
