//! C7, C8, C10, C11, C17, C18 and C19: the drop-in, and the machine that it is installed on.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use pushkeys_tests::{Key, PushHost, Room, Service, Session, SshdSettings, as_user, run};

/// The tokens that all supported versions of sshd expand in an `AuthorizedKeysCommand`.
const PORTABLE_TOKENS: [&str; 6] = ["%u", "%U", "%h", "%t", "%k", "%f"];

#[test]
fn c07_sshd_runs_no_helper_that_others_could_write() {
    let service = Service::start();
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    let host = PushHost::start(&service);
    host.learns(&key);
    host.login("git", &key).succeeds_as(&ana);

    let check = |name: &str, mode: u32| {
        let path = host.files().programs().join(name);
        let before = fs::metadata(&path).expect("installed").permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own file");
        host.login("git", &key).is_refused();
        fs::set_permissions(&path, before).expect("own file");
        host.login("git", &key).succeeds_as(&ana);
    };
    check("pushkeys-lookup", 0o757);
    check(".", 0o777);
    assert!(host.sshd.log().contains("Unsafe AuthorizedKeysCommand"), "sshd says why");
}

#[test]
fn c08_the_drop_in_uses_only_portable_tokens() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let settings = host.sshd.settings_for("git");
    let command = value_of(&settings, "authorizedkeyscommand");
    assert!(command.ends_with(" %u %f"), "{command}");
    for word in command.split(' ').filter(|word| word.contains('%')) {
        assert!(PORTABLE_TOKENS.contains(&word), "{word}");
    }
    assert_eq!(value_of(&settings, "authorizedkeyscommanduser"), "pushkeys-lookup");
}

/// A push host with other ways to log in with `key`: a global file, a certificate authority, and a
/// global command as distributions ship one.
fn generous_sshd(settings: &mut SshdSettings, room: &Room, key: &Key) {
    let authorized_keys = room.write_with_mode("authorized_keys", key.text(), 0o644);
    let command = room.write_with_mode("print", &format!("#!/bin/sh\necho '{}'\n", key.text()), 0o755);
    let authority = key.path().with_extension("pub");
    settings.global = format!(
        "AuthorizedKeysFile {}\nTrustedUserCAKeys {}\nAuthorizedKeysCommand {}\nAuthorizedKeysCommandUser nobody\n\
         PermitRootLogin yes\nStrictModes no",
        authorized_keys.display(),
        authority.display(),
        command.display()
    );
}

fn runs_a_shell(session: &Session) -> bool {
    session.code == Some(0) && session.stdout.contains("uid=")
}

#[test]
fn c10_no_file_and_no_certificate_allows_a_login() {
    let (service, room, stray) = (Service::start(), Room::root_owned(), Key::ed25519());
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "me", "-n", "git", "-s"])
        .arg(stray.path())
        .arg(stray.path().with_extension("pub"));
    let _ = run(&mut sign).output();

    let without_drop_in = PushHost::start_with(&service, |sshd| {
        generous_sshd(sshd, &room, &stray);
        sshd.drop_in = false;
    });
    assert!(runs_a_shell(&without_drop_in.login("git", &stray).runs(&["id"])), "the login works");

    let host = PushHost::start_with(&service, |sshd| generous_sshd(sshd, &room, &stray));
    host.login("git", &stray).is_refused();
    let settings = host.sshd.settings_for("git");
    assert_eq!(value_of(&settings, "authorizedkeysfile"), "none");
    assert_eq!(value_of(&settings, "trustedusercakeys"), "none");
}

#[test]
fn c11_the_drop_in_overrides_a_global_command_only_for_its_login() {
    let (service, room, stray) = (Service::start(), Room::root_owned(), Key::ed25519());
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    let host = PushHost::start_with(&service, |sshd| {
        generous_sshd(sshd, &room, &stray);
        sshd.global = sshd.global.replace("AuthorizedKeysFile", "#");
    });
    host.learns(&key);

    host.login("git", &key).succeeds_as(&ana);
    host.login("git", &stray).is_refused();
    assert!(runs_a_shell(&host.login("root", &stray).runs(&["id"])), "other logins keep their command");
    host.login("root", &key).is_refused();
    assert!(host.lookup("root", &key.fingerprint()).is_unknown(), "even if a global command applies to root");
}

#[test]
fn c12_the_login_cannot_write_files_that_its_shell_reads() {
    let passwd = run(Command::new("getent").args(["passwd", "git"])).output();
    let fields: Vec<&str> = passwd.trim_end().split(':').collect();
    let (home, shell) = (fields.get(5).expect("a home"), fields.get(6).expect("a shell"));
    assert_eq!(*shell, "/bin/sh", "nologin would break the forced command, and bash reads ~/.bashrc");
    let metadata = fs::metadata(home).expect("the home");
    assert_eq!((metadata.uid(), metadata.mode() & 0o022), (0, 0), "{home}");
    let touched = run(as_user("git", "touch").arg(format!("{home}/.profile")));
    assert!(!touched.status.success(), "{touched:?}");
}

#[test]
fn c17_nothing_is_forwarded() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);

    let target = format!("127.0.0.1:{}", host.sshd.port());
    let through = host.login("git", &key).with_arguments(&["-W", &target]).opens();
    assert!(
        through.code == Some(255) && through.stderr.contains("administratively prohibited"),
        "{through:?}"
    );
    let back = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"];
    let back = host.login("git", &key).with_arguments(&back).opens();
    assert!(back.code == Some(255) && back.stderr.contains("remote port forwarding failed"), "{back:?}");
    let terminal = host.login("git", &key).with_arguments(&["-tt"]).opens();
    assert!(terminal.stderr.contains("PTY allocation request failed"), "{terminal:?}");

    let settings = host.sshd.settings_for("git");
    for (keyword, value) in [
        ("disableforwarding", "yes"),
        ("permittunnel", "no"),
        ("permituserenvironment", "no"),
        ("permituserrc", "no"),
        ("acceptenv", "GIT_PROTOCOL"),
        ("exposeauthinfo", "yes"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("authenticationmethods", "publickey"),
    ] {
        assert_eq!(value_of(&settings, keyword), value, "{keyword}");
    }
}

#[test]
fn c18_an_outage_fails_no_login() {
    // Far more than the number of failures after which sshd begins to block an address.
    const LOGINS: usize = 10;
    let mut service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);
    service.kill();
    for _ in 0..LOGINS {
        host.login("git", &key).succeeds_as(&ana);
    }
}

#[test]
fn c19_the_login_is_not_locked() {
    let shadow = run(Command::new("getent").args(["shadow", "git"])).output();
    assert_eq!(shadow.split(':').nth(1), Some("*"), "hint: scripts/setup");

    let (service, room) = (Service::start(), Room::root_owned());
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    let check = |password: &str, pam: &str| {
        let copy = room.join("shadow");
        let prelude = format!(
            "sed 's/^git:[^:]*/git:{password}/' /etc/shadow >{copy}; mount --bind {copy} /etc/shadow",
            copy = copy.display()
        );
        let host = PushHost::start_with(&service, |sshd| {
            sshd.prelude = Some(prelude);
            sshd.global = format!("UsePAM {pam}");
        });
        host.learns(&key);
        host
    };
    check("*", "no").login("git", &key).succeeds_as(&ana);
    check("*", "yes").login("git", &key).succeeds_as(&ana);
    check("!", "no").login("git", &key).is_refused();
}

/// The value of `keyword` in the output of `sshd -T`: keywords are in lower case up to OpenSSH 10.3, and in mixed case since.
#[track_caller]
fn value_of<'a>(settings: &'a str, keyword: &str) -> &'a str {
    let is_wanted = |(key, _): &(&str, &str)| key.eq_ignore_ascii_case(keyword);
    let mut values = settings.lines().filter_map(|line| line.split_once(' ').filter(is_wanted));
    let (_, value) = values.next().unwrap_or_else(|| panic!("no `{keyword}` in: {settings}"));
    assert!(values.next().is_none(), "`{keyword}` more than once in: {settings}");
    value
}
