use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use jiff::Timestamp;
use pushkeys_cache::{Cache, Verdict};

use crate::fixture::{ANA, BEN, CY, Host, UNKNOWN, entry, fingerprint_of, named, spoil};

const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

/// What sshd is told of `key` and the login `git`.
fn verdict(host: &Host, key: &str) -> String {
    let consultation = match Cache::open(&host.cache()).unwrap().consult(&fingerprint_of(key)) {
        Ok(consultation) => consultation,
        Err(error) => return error.to_string(),
    };
    match Verdict::of(consultation, &"git".parse().unwrap(), Timestamp::now()) {
        Ok(Verdict::Known { .. }) => "known".to_owned(),
        Ok(Verdict::Revoked(revocation)) => format!("revoked by {}", revocation.what),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_revoked_key_opens_nothing_until_that_is_taken_back() {
    let host = Host::with_keys();
    let fingerprint = fingerprint_of(ANA);
    let said = host.pushkeys(&["revoke", &fingerprint.to_string()]).is(0);
    assert!(said.starts_with(&format!("revoked: key {fingerprint} (1 key of this host); ")), "{said}");
    assert_eq!(verdict(&host, ANA), format!("revoked by key {fingerprint}"));
    assert_eq!(verdict(&host, CY), "known");
    let again = host.pushkeys(&["revoke", ANA]).is(0);
    assert!(again.starts_with("already revoked: key SHA256:"), "{again}");

    let said = host.pushkeys(&["revoke", ANA, "--undo"]).is(0);
    assert!(said.starts_with("no longer revoked: key SHA256:"), "{said}");
    assert_eq!(verdict(&host, ANA), "known");
    assert!(!host.cache().join("REVOKED").exists());
    assert!(host.pushkeys(&["revoke", ANA, "--undo"]).is(1).starts_with("not revoked on this host: "));
}

#[test]
fn an_account_is_revoked_with_every_key_it_has() {
    let host = Host::with_keys();
    let said = host.pushkeys(&["revoke", "--account", "ops"]).is(0);
    assert!(said.starts_with("revoked: account ops (1 key of this host); "), "{said}");
    assert_eq!(verdict(&host, CY), "revoked by account ops");
    assert_eq!(verdict(&host, ANA), "known");
    let said = host.pushkeys(&["revoke", "--account", "ops", "--undo", "--json"]).is(0);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["revoked"], &said["changed"]), (&"account ops".into(), &true.into()));
    assert_eq!(verdict(&host, CY), "known");
}

#[test]
fn an_account_is_revoked_by_its_name_if_only_one_has_it() {
    let host = Host::with_keys();
    let answer = host.pushkeys(&["revoke", "--account", "ana"]);
    assert_eq!((answer.status, answer.stderr.as_str()), (Some(0), "`ana` is account acct_1\n"));
    assert!(answer.stdout.starts_with("revoked: account acct_1 (1 key of this host); "), "{answer:?}");
    assert_eq!(verdict(&host, ANA), "revoked by account acct_1");
    assert_eq!(host.pushkeys(&["revoke", "--account", "ana", "--undo"]).status, Some(0));
    assert_eq!(verdict(&host, ANA), "known");

    // The id of one account as the name of another, which a user may choose.
    host.put("other", [named(entry(UNKNOWN, "acct_9", "key_9"), "acct_1", "x")]);
    host.pushkeys(&["revoke", "--account", "acct_1"]).is(0);
    assert_eq!(
        (verdict(&host, UNKNOWN).as_str(), verdict(&host, ANA).as_str()),
        ("known", "revoked by account acct_1")
    );
    host.put("third", [named(entry(OTHER, "acct_8", "key_8"), "ana", "x")]);
    let answer = host.pushkeys(&["revoke", "--account", "ana"]);
    let expected =
        "error: `ana` is the name of several accounts: acct_1, acct_8\nhint: name one of them by its id\n";
    assert_eq!((answer.status, answer.stderr.as_str()), (Some(1), expected));
}

#[test]
fn what_is_revoked_is_shown_by_every_command() {
    let host = Host::with_keys();
    assert_eq!(host.pushkeys(&["revoke", "--list"]).is(0), "nothing is revoked on this host\n");
    host.pushkeys(&["revoke", ANA]).is(0);
    let check = |arguments: &[&str], expected: &str| {
        let said = host.pushkeys(arguments).stdout;
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["revoke", "--list"], "not reported yet");
    check(&["revoke", "--list", "--json"], "\"reports\": []");
    check(&["explain", "git", ANA], "\nsshd refuses the key: the key SHA256:");
    check(&["show", ANA], "  revoked  on this host, by the key SHA256:");
    check(&["list", "--account", "acct_1"], "revoked on this host");
    check(&["list", "--account", "acct_1", "--json"], "\"revoked_since\":\"2");
    check(&["status"], "1 key or account is revoked on this host alone");
    assert!(!host.pushkeys(&["list", "--account", "ops", "--json"]).is(0).contains("revoked_since"));
}

#[test]
fn a_slip_of_the_pen_revokes_nothing() {
    let host = Host::with_keys();
    let check = |arguments: &[&str], expected: &str| {
        let answer = host.pushkeys(arguments);
        assert_eq!((answer.status, answer.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(answer.stderr.ends_with(expected), "{}", answer.stderr);
    };
    check(&["revoke", UNKNOWN], "so nothing was revoked\nhint: pushkeys list\n");
    let unknown = |text: &str, hint: &str| {
        format!("error: no source of this host has an account with the id or name `{text}`\nhint: {hint}\n")
    };
    check(&["revoke", "--account", "acct_12"], &unknown("acct_12", "did you mean acct_1 (ana)?"));
    check(&["revoke", "--account", "Ana B"], &unknown("Ana B", "pushkeys list"));
    for arguments in [
        &["revoke"][..],
        &["revoke", ANA, "--account", "ops"],
        &["revoke", "--undo"],
        &["revoke", "--list", "--undo"],
    ] {
        assert_eq!(host.pushkeys(arguments).status, Some(2), "{arguments:?}");
    }
    assert!(!host.cache().join("REVOKED").exists());
}

#[test]
fn a_key_is_revoked_while_the_cache_is_damaged_too() {
    let host = Host::with_keys();
    fs::write(host.shard("api"), "").unwrap();
    let answer = host.pushkeys(&["revoke", ANA]);
    assert_eq!(answer.status, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.starts_with("warning: it is not known whether this host has the key SHA256:"));
    assert!(verdict(&host, ANA).starts_with("revoked by key "));
}

#[test]
fn a_file_of_revocations_that_is_not_to_be_trusted_leaves_nobody_an_answer() {
    let host = Host::with_keys();
    let path = host.cache().join("REVOKED");
    host.pushkeys(&["revoke", ANA]).is(0);
    assert_eq!(verdict(&host, CY), "known");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(verdict(&host, CY).contains("is writable by group or others"), "{}", verdict(&host, CY));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    spoil(&path, "key\t", "Key\t");
    assert!(verdict(&host, CY).contains("is damaged"), "{}", verdict(&host, CY));
    let answer = host.pushkeys(&["revoke", "--list"]);
    assert_eq!(answer.status, Some(1));
    assert!(
        answer.stderr.contains("hint: every key is refused meanwhile: rm it, and run"),
        "{}",
        answer.stderr
    );
}

#[test]
fn what_root_revokes_is_the_daemons_to_lift_and_the_look_ups_to_read() {
    let host = Host::with_keys();
    let (daemon, readers) = (65_534, 65_533);
    let chown_all = std::process::Command::new("chown")
        .args(["--recursive", &format!("{daemon}:{readers}")])
        .arg(host.cache())
        .status();
    assert!(chown_all.unwrap().success());
    host.pushkeys(&["revoke", BEN]).is(0);
    let revoked = fs::metadata(host.cache().join("REVOKED")).unwrap();
    assert_eq!((revoked.uid(), revoked.gid(), revoked.mode() & 0o777), (daemon, readers, 0o640));
    let lock = fs::metadata(host.cache().join("REVOKED.lock")).unwrap();
    assert_eq!((lock.uid(), lock.mode() & 0o777), (daemon, 0o600));
}
