//! `pushkeys doctor` on real hosts: every fault is found, nothing else is reported, and the command
//! in the hint fixes it.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_tests::{
    Finished, HostFiles, Key, Program, PushHost, Room, Service, Sshd, SshdSettings, as_user, program, run,
};
use serde_json::Value;

/// A push host with a key, and sshd's files in a folder that only root can write to.
struct Patient {
    host: PushHost,
    service: Service,
    config: PathBuf,
    room: Room,
}

impl Patient {
    fn healthy() -> Self {
        let service = Service::start();
        let host = PushHost::start(&service);
        let (ana, laptop) = (service.account("ana"), Key::ed25519());
        ana.adds(&laptop, "laptop");
        host.learns(&laptop);
        let room = Room::root_owned();
        let config = Sshd::configure(&room, &SshdSettings::new(&host.files().helper()));
        Self { host, service, config, room }
    }

    fn drop_in(&self) -> PathBuf {
        self.room.join("50-pushkeys.conf")
    }

    fn doctor(&self, more: &[&str]) -> Finished {
        let mut command = as_user("root", program(Program::Cli));
        command
            .arg("--cache")
            .arg(self.host.cache())
            .args(["doctor", "--json", "--sshd-config"])
            .arg(&self.config);
        command.arg("--syncd").arg(program(Program::Syncd));
        command.arg("--syncd-config").arg(self.host.syncd.configuration());
        command.arg("--helper").arg(self.helper());
        command.arg("--shell-config").arg(self.room.join("shell.toml")).args(more);
        run(&mut command)
    }

    fn helper(&self) -> PathBuf {
        self.host.files().programs().join("pushkeys-lookup")
    }

    /// The findings except notes: severity, check, fix.
    fn findings(&self) -> Vec<(String, String, Option<String>)> {
        let finished = self.doctor(&[]);
        let report: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
        let findings = report["findings"].as_array().unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let found: Vec<_> = findings
            .iter()
            .filter(|finding| finding["severity"] != "note")
            .map(|finding| {
                assert!(
                    !finding["what"].as_str().unwrap().is_empty()
                        && !finding["why"].as_str().unwrap().is_empty()
                );
                (
                    text(&finding["severity"]).unwrap(),
                    text(&finding["check"]).unwrap(),
                    text(&finding["cure"]),
                )
            })
            .collect();
        let code = match () {
            () if found.iter().any(|(severity, ..)| severity == "error") => 1,
            () if found.is_empty() => 0,
            () => 3,
        };
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stdout);
        assert_eq!(report["ok"], found.is_empty());
        found
    }

    /// Checks that `change` causes exactly the finding `expected`, and that the command in its hint fixes it.
    #[track_caller]
    fn check(&self, what: &str, change: impl FnOnce(&Self), expected: (&str, &str)) {
        let before = Files::of(&[&self.config, &self.drop_in()]);
        change(self);
        let found = self.findings();
        let seen: Vec<_> =
            found.iter().map(|(severity, check, _)| (severity.as_str(), check.as_str())).collect();
        assert_eq!(seen, [expected], "{what}");
        let cure = found[0].2.clone().unwrap_or_else(|| panic!("{what}: no cure is named"));
        let cured = run(Command::new("sh").args(["-euc", &cure]).current_dir("/"));
        assert!(cured.status.success(), "{what}: {cure}: {}", cured.stderr);
        assert_eq!(self.findings(), [], "{what}: after {cure}");
        before.restore();
    }

    /// Replaces `from` by `to` in the drop-in.
    fn edit(&self, from: &str, to: &str) {
        edit(&self.drop_in(), from, to);
    }
}

/// The original contents of files.
struct Files(Vec<(PathBuf, String)>);

impl Files {
    fn of(paths: &[&Path]) -> Self {
        Self(paths.iter().map(|path| (path.to_path_buf(), fs::read_to_string(path).unwrap())).collect())
    }

    fn restore(self) {
        self.0.into_iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    }
}

#[track_caller]
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` is in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn sh(command: &str) {
    let _ = run(Command::new("sh").args(["-euc", command])).output();
}

#[test]
fn settings_that_allow_other_logins_are_found_and_fixed() {
    let patient = Patient::healthy();
    assert_eq!(patient.findings(), []);
    for (from, to, severity) in [
        ("AuthorizedKeysFile none", "AuthorizedKeysFile .ssh/authorized_keys", "error"),
        ("    AuthorizedKeysFile none\n", "", "error"),
        ("AuthenticationMethods publickey", "AuthenticationMethods any", "warning"),
        ("PasswordAuthentication no", "PasswordAuthentication yes", "warning"),
        ("KbdInteractiveAuthentication no", "KbdInteractiveAuthentication yes", "warning"),
        ("HostbasedAuthentication no", "HostbasedAuthentication yes", "warning"),
        ("PermitEmptyPasswords no", "PermitEmptyPasswords yes", "warning"),
        ("DisableForwarding yes", "DisableForwarding no", "error"),
        ("PermitTunnel no", "PermitTunnel yes", "error"),
        ("PermitUserRC no", "PermitUserRC yes", "warning"),
        ("PermitTTY no", "PermitTTY yes", "warning"),
        ("    ExposeAuthInfo yes\n", "", "warning"),
        ("ExposeAuthInfo yes", "ExposeAuthInfo yes\n    ForceCommand /bin/date", "error"),
        ("ExposeAuthInfo yes", "ExposeAuthInfo yes\n    ChrootDirectory /var/empty", "error"),
    ] {
        patient.check(to, |patient| patient.edit(from, to), (severity, "sshd-setting"));
    }
    let authority = patient.room.write("ca.pub", &format!("{}\n", Key::ed25519().bare_text()));
    patient.check(
        "an authority",
        |patient| {
            patient.edit("TrustedUserCAKeys none", &format!("TrustedUserCAKeys {}", authority.display()));
        },
        ("error", "sshd-setting"),
    );
    patient.check(
        "a global setting that cannot stand in a block",
        |patient| edit(&patient.config, "LogLevel VERBOSE", "LogLevel VERBOSE\nPermitUserEnvironment yes"),
        ("error", "sshd-setting"),
    );
    patient.check(
        "another block that comes first",
        |patient| patient.edit("Match User git", "Match User git\n    PermitTunnel yes\nMatch User git"),
        ("error", "sshd-setting"),
    );
}

#[test]
fn settings_of_client_environment_and_allowed_users_are_found_and_fixed() {
    let patient = Patient::healthy();
    let accept = |value: &'static str| move |patient: &Patient| patient.edit("AcceptEnv GIT_PROTOCOL", value);
    patient.check("too much", accept("AcceptEnv GIT_PROTOCOL LANG"), ("warning", "accept-env"));
    patient.check("all", accept("AcceptEnv *"), ("error", "accept-env"));
    patient.check("git's own", accept("AcceptEnv GIT_*"), ("error", "accept-env"));
    patient.check(
        "users who may come",
        |patient| edit(&patient.config, "LogLevel VERBOSE", "LogLevel VERBOSE\nAllowUsers root deploy*"),
        ("error", "allow-users"),
    );
    edit(&patient.config, "LogLevel VERBOSE", "LogLevel VERBOSE\nAllowUsers root g?t");
    assert_eq!(patient.findings(), []);
    edit(&patient.config, "AllowUsers root g?t", "DenyUsers git");
    assert_eq!(patient.findings(), [("error".to_owned(), "allow-users".to_owned(), None)]);
}

#[test]
fn settings_that_lock_out_known_keys_are_found_and_fixed() {
    let patient = Patient::healthy();
    edit(&patient.config, "LogLevel VERBOSE", "LogLevel VERBOSE\nAllowGroups root");
    patient.edit(
        "AcceptEnv GIT_PROTOCOL",
        "AcceptEnv GIT_PROTOCOL\n    MaxAuthTries 2\n    MaxSessions 0\n    RevokedKeys none\n    \
         PubkeyAcceptedAlgorithms rsa-sha2-512",
    );
    let found = patient.findings();
    let mut checks: Vec<&str> = found.iter().map(|(_, check, _)| check.as_str()).collect();
    checks.sort_unstable();
    assert_eq!(checks, ["allow-groups", "key-types", "max-auth-tries", "max-sessions", "revoked-keys"]);
    for (_, check, cure) in &found {
        sh(cure.as_ref().unwrap_or_else(|| panic!("{check}: no cure is named")));
    }
    assert_eq!(patient.findings(), []);
}

#[test]
fn a_missing_list_of_revoked_keys_is_found_and_never_removed() {
    let patient = Patient::healthy();
    let list = patient.room.write("revoked", "");
    let revoked = format!("LogLevel VERBOSE\nRevokedKeys {}", list.display());
    edit(&patient.config, "LogLevel VERBOSE", &revoked);
    assert_eq!(patient.findings(), []);
    fs::remove_file(&list).unwrap();
    assert_eq!(patient.findings(), [("error".to_owned(), "revoked-keys".to_owned(), None)]);
}

#[test]
fn a_helper_that_sshd_cannot_run_is_found_and_fixed() {
    let patient = Patient::healthy();
    let tokens = |value: &'static str| move |patient: &Patient| patient.edit("%u %f\n", value);
    let found = |patient: &Patient| -> Vec<String> {
        patient.findings().into_iter().map(|(_, check, _)| check).collect()
    };
    patient.check("a token of no sshd", tokens("%u %Z\n"), ("error", "command-tokens"));
    patient.check("no fingerprint", tokens("%u\n"), ("warning", "command-tokens"));
    patient.check("the wrong order", tokens("%f %u\n"), ("error", "command-tokens"));
    let user = |user: &'static str| {
        move |patient: &Patient| patient.edit("CommandUser pushkeys-lookup", &format!("CommandUser {user}"))
    };
    patient.check("root", user("root"), ("error", "command-user"));
    patient.check("nobody", user("nobody-of-ours"), ("error", "command-user"));

    let (helper, folder) = (patient.helper(), patient.host.files().programs().path().to_owned());
    let (helper, folder) = (helper.display(), folder.display());
    patient.check("a helper of others", |_| sh(&format!("chmod g+w {helper}")), ("error", "command-path"));
    patient.check("a helper not roots", |_| sh(&format!("chown nobody {helper}")), ("error", "command-path"));
    sh(&format!("chmod 0777 {folder}"));
    assert!(found(&patient).contains(&"command-path".to_owned()));
    assert!(found(&patient).contains(&"shell-path".to_owned()), "the forced command uses the folder, too");
    sh(&format!("chmod 0755 {folder}"));
    sh(&format!("chmod o+w {folder}/pushkeys-shell"));
    // The daemon refuses a configuration with it, too.
    assert_eq!(found(&patient), ["shell-path", "source"]);
    sh(&format!("chmod go-w {folder}/pushkeys-shell"));

    let config = patient.config.display();
    patient.check("sshd's settings", |_| sh(&format!("chmod g+w {config}")), ("error", "sshd-config"));

    let global = format!(
        "LogLevel VERBOSE\nAuthorizedKeysCommand {helper} %u %f\nAuthorizedKeysCommandUser pushkeys-lookup"
    );
    patient.check(
        "for root too",
        |patient| edit(&patient.config, "LogLevel VERBOSE", &global),
        ("warning", "command-global"),
    );
    patient.check(
        "another's helper",
        |patient| {
            patient.edit(
                &format!("AuthorizedKeysCommand {}", patient.host.files().helper()),
                "AuthorizedKeysCommand /bin/cat",
            );
        },
        ("error", "command-missing"),
    );
}

#[test]
fn what_the_login_needs_for_git_is_checked_as_the_login() {
    let patient = Patient::healthy();
    let shell = HostFiles::install_git(&patient.room, "");
    assert_eq!(patient.findings(), []);
    let check = |what: &str, change: &str| {
        patient.check(
            what,
            |_| sh(&format!("cd {}; {change}", patient.room.path().display())),
            ("error", "shell-config"),
        );
    };
    check("settings that others can write to", "chmod o+w shell.toml");
    check("no root", "rmdir repositories");
    check("a root that the login cannot write to", "chown root:root repositories");
    check("a hook that cannot be run", "chmod a-x hooks/pre-receive");
    check("a hook that others can write to", "chmod g+w hooks/post-receive");
    // Root could read them; sessions cannot.
    sh(&format!("chmod 0600 {}", shell.display()));
    let found = patient.findings();
    let seen: Vec<_> = found.iter().map(|(severity, check, _)| (severity.as_str(), check.as_str())).collect();
    assert_eq!(seen, [("error", "shell-config")]);
}

#[test]
fn an_sshd_without_the_drop_in_gets_it_by_the_hint() {
    let patient = Patient::healthy();
    let shipped = patient.doctor(&["--drop-in"]);
    assert!(shipped.stdout.contains("\nMatch User git\n"), "{}", shipped.stdout);
    fs::write(patient.drop_in(), "").unwrap();
    let cure = patient
        .findings()
        .into_iter()
        .find(|(_, check, _)| check == "command-missing")
        .and_then(|(.., cure)| cure);
    assert_eq!(cure, Some(format!("pushkeys doctor --drop-in >> {}", patient.config.display())));
    fs::write(patient.drop_in(), shipped.stdout).unwrap();
    assert!(patient.findings().iter().all(|(_, check, _)| check != "command-missing"));
    edit(&patient.config, "LogLevel VERBOSE", "LogLevel LOUD");
    assert!(patient.findings().iter().any(|(severity, check, _)| severity == "error" && check == "sshd"));
}

#[test]
fn a_host_that_cannot_reach_its_service_is_found() {
    let mut patient = Patient::healthy();
    let checks = |patient: &Patient| -> Vec<String> {
        patient.findings().into_iter().map(|(_, check, _)| check).collect()
    };
    let cache = patient.host.cache().display().to_string();
    patient.check("an open cache", |_| sh(&format!("chmod o+rx {cache}")), ("warning", "cache-access"));

    let token = patient.host.files().room().join("token");
    patient.check("an open token", |_| sh(&format!("chmod 0444 {}", token.display())), ("error", "source"));
    let right = fs::read_to_string(&token).unwrap();
    fs::write(&token, "psh_wrong").unwrap();
    assert!(checks(&patient).contains(&"source".to_owned()), "a token that the service refuses");
    fs::write(&token, right).unwrap();

    // Another account registers the key while the daemon is stopped.
    patient.host.syncd.kill();
    let before = checks(&patient);
    assert!(before.contains(&"cache".to_owned()), "the daemon is not running: {before:?}");
    assert!(!before.contains(&"agreement".to_owned()), "{before:?}");
    let ben = patient.service.account("ben");
    for number in 0..8 {
        // With nine keys, another one is usually first in the snapshot.
        ben.adds(&Key::ed25519(), &format!("key{number}"));
    }
    let first = first_of_service(&patient);
    let is_known = !patient.host.lookup("git", &first.parse().unwrap()).stdout.is_empty();
    assert_eq!(checks(&patient).contains(&"agreement".to_owned()), !is_known, "{first}");
    let differing = against_source(&patient);
    assert_eq!(differing.0, Some(1));
    assert_eq!(
        differing.1.matches(": the source has it, and this host does not\n").count(),
        8,
        "{}",
        differing.1
    );
    assert!(differing.1.ends_with("api: 9 keys compared, 0 left out: 8 differences\n"), "{}", differing.1);
    patient.host.syncd.start();
    pushkeys_tests::until("cache and service are equal", || against_source(&patient).0 == Some(0));
    pushkeys_tests::until("the host is in sync", || patient.findings().is_empty());

    patient.service.kill();
    assert!(checks(&patient).contains(&"source".to_owned()), "the service is unavailable");
}

/// The result of `pushkeys verify --against-source`.
fn against_source(patient: &Patient) -> (Option<i32>, String) {
    let mut command = as_user("root", program(Program::Cli));
    command.arg("--cache").arg(patient.host.cache()).args(["verify", "--against-source", "--syncd"]);
    command.arg(program(Program::Syncd)).arg("--syncd-config").arg(patient.host.syncd.configuration());
    let finished = run(&mut command);
    (finished.status.code(), finished.stdout + &finished.stderr)
}

/// The fingerprint of the first key in the service's snapshot.
fn first_of_service(patient: &Patient) -> String {
    let mut command = as_user("pushkeys", program(Program::Syncd));
    command.arg("--config").arg(patient.host.syncd.configuration()).args(["check", "--contact", "--json"]);
    let said: Value = serde_json::from_str(&run(&mut command).output()).unwrap();
    let sample = said.as_array().unwrap().iter().find_map(|said| said["sample"]["fingerprint"].as_str());
    sample.expect("the service has a key").to_owned()
}

#[test]
fn a_host_without_configuration_gets_the_missing_steps() {
    let files = HostFiles::install();
    let room = Room::root_owned();
    let config =
        Sshd::configure(&room, &SshdSettings { drop_in: false, ..SshdSettings::new(&files.helper()) });
    let mut command = as_user("root", program(Program::Cli));
    command.arg("--cache").arg(room.join("none")).args(["doctor", "--sshd-config"]).arg(&config);
    command.arg("--syncd").arg("/nonexistent/pushkeys-syncd");
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
    for word in ["[command-missing]", "[cache]", "[syncd]", "cure: ", "why:  ", " errors, "] {
        assert!(finished.stdout.contains(word), "{word}: {}", finished.stdout);
    }
}
