//! `pushkeys-sshd` with the sshd of each release: sshd obeys its configuration, or everything stays unchanged.

use std::fs;

use pushkeys_tests::{Key, until};
use serde_json::Value;

use crate::guide::blocks_of;
use crate::made::{BEFORE, deb};
use crate::root::{Debian, Machine};
use crate::{DROP_IN, SYNCD, free_port};

const CONFIG: &str = "/etc/ssh/sshd_config";
const FOLDER: &str = "/etc/ssh/sshd_config.d";
const OTHER: &str = "/etc/ssh/sshd_config.d/10-other.conf";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";
/// The checks of the drop-in's settings. Findings about missing systemd and a missing service are not relevant here.
const CHECKS: [&str; 9] = [
    "accept-env",
    "command-missing",
    "command-path",
    "command-tokens",
    "command-user",
    "key-types",
    "sshd",
    "sshd-config",
    "sshd-setting",
];

#[test]
fn sshd_of_debian_12_is_configured_or_left_unchanged() {
    sshd_is_configured_or_left_unchanged(Debian::Bookworm);
}

#[test]
fn sshd_of_debian_13_is_configured_or_left_unchanged() {
    sshd_is_configured_or_left_unchanged(Debian::Trixie);
}

#[test]
fn sshd_of_debian_14_is_configured_or_left_unchanged() {
    sshd_is_configured_or_left_unchanged(Debian::Forky);
}

fn sshd_is_configured_or_left_unchanged(debian: Debian) {
    let machine = Machine::copy(debian, free_port());
    machine.installs(&deb("pushkeys", BEFORE));
    let key = Key::ed25519();
    fs::write(machine.path("/etc/pushkeys/keys/acct_ana.pub"), key.text()).expect("own file");
    let (_sshd, _syncd) = (machine.starts_sshd(), machine.starts_unit(SYNCD));
    until("the key is in the cache", || machine.path("/var/lib/pushkeys/cache/local/HEAD").exists());
    assert!(!machine.greets(&key), "no login works yet");

    other_ways_to_log_in_are_removed_only_with_replace(&machine);
    a_drop_in_that_sshd_does_not_obey_is_removed(&machine);

    machine.runs(&["pushkeys-sshd", "enable"]);
    until("sshd has read its configuration again", || machine.greets(&key));
    assert!(machine.runs(&["pushkeys-sshd", "enable"]).contains("already"));
    let said = machine.tries(&["pushkeys", "doctor", "--json"]).stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(said["sshd"].as_str().is_some_and(|version| version.starts_with(debian.openssh())), "{said}");
    let found = said["findings"].as_array().expect("findings");
    let wrong: Vec<_> =
        found.iter().filter(|finding| CHECKS.iter().any(|check| finding["check"] == *check)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    a_link_that_sshd_does_not_read_is_reported(&machine);
    if debian != Debian::Bookworm {
        settings_of_the_guide_for_newer_releases_are_accepted(&machine);
    }
    let said: Value =
        serde_json::from_str(&machine.runs(&["pushkeys-sshd", "disable", "--json"])).expect("JSON");
    assert_eq!((&said["enabled"], &said["changed"]), (&false.into(), &true.into()));
    until("no login works any more", || !machine.greets(&key));
}

/// Checks that `enable` with `arguments` is refused for a reason that contains `why`, and that sshd's folder is unchanged.
#[track_caller]
fn refuses(machine: &Machine, arguments: &[&str], why: &str) {
    let before = machine.tries(&["ls", "-lR", "/etc/ssh"]).stdout;
    let finished = machine.tries(&[&["pushkeys-sshd", "enable"], arguments].concat());
    assert!(finished.status.code() == Some(1) && finished.stderr.contains(why), "{why}: {finished:?}");
    assert!(finished.stderr.contains("\nhint: "), "{finished:?}");
    assert_eq!(machine.tries(&["ls", "-lR", "/etc/ssh"]).stdout, before, "{why}: nothing was changed");
}

fn writes(machine: &Machine, path: &str, text: &str) {
    fs::write(machine.path(path), text).expect("own file");
}

fn other_ways_to_log_in_are_removed_only_with_replace(machine: &Machine) {
    let replaces = || {
        machine.runs(&["pushkeys-sshd", "enable", "--replace"]);
        assert!(machine.path(DROP_IN).is_symlink());
        machine.runs(&["pushkeys-sshd", "disable"]);
    };
    writes(machine, OTHER, "AuthorizedKeysCommand /usr/bin/true\nAuthorizedKeysCommandUser nobody\n");
    refuses(machine, &[], "AuthorizedKeysCommand already: /usr/bin/true");
    replaces();
    writes(machine, OTHER, "TrustedUserCAKeys /etc/ssh/ca.pub\n");
    writes(machine, "/etc/ssh/ca.pub", Key::ed25519().text());
    refuses(machine, &[], "certificates by the keys in `/etc/ssh/ca.pub`");
    replaces();
    writes(machine, OTHER, "AuthorizedKeysFile /etc/ssh/none \"/etc/ssh/keys of/%u.keys\"\n");
    fs::create_dir(machine.path("/etc/ssh/keys of")).expect("own directory");
    writes(machine, "/etc/ssh/keys of/git.keys", "ssh-ed25519 AAAA somebody\n");
    refuses(machine, &[], "`/etc/ssh/keys of/git.keys` lets people in");
    replaces();
    fs::remove_file(machine.path(OTHER)).expect("own file");

    let keys = machine.path("/var/lib/pushkeys/git/.ssh");
    fs::create_dir(&keys).expect("own directory");
    fs::write(keys.join("authorized_keys"), "ssh-ed25519 AAAA somebody\n").expect("own file");
    refuses(machine, &[], "authorized_keys");
    fs::remove_dir_all(&keys).expect("own directory");

    machine.runs(&["usermod", "--password", "$y$j9T$aaaaaaaaaaaaaaaaaaaaaa$b", "git"]);
    refuses(machine, &[], "has a password");
    machine.runs(&["usermod", "--password", "*", "git"]);
}

fn a_drop_in_that_sshd_does_not_obey_is_removed(machine: &Machine) {
    let config = machine.read(CONFIG);
    let with = |text: &str, why: &str| {
        writes(machine, CONFIG, text);
        refuses(machine, &["--replace"], why);
        writes(machine, CONFIG, &config);
    };
    with(&format!("{config}NoSuchKeyword yes\n"), "rejects its configuration");
    assert!(config.contains(INCLUDE), "{config}");
    with(&config.replace(INCLUDE, ""), &format!("needs `{}`", INCLUDE.trim_end()));
    with(
        &config.replace(INCLUDE, &format!("Match User root\n{INCLUDE}Match all\n")),
        "does not ask pushkeys-lookup",
    );

    for (block, why) in [
        (
            "AuthorizedKeysCommand /usr/bin/true\nAuthorizedKeysCommandUser nobody\n",
            "but `/usr/bin/true` (see /etc/ssh/",
        ),
        (
            "PermitTunnel yes\n",
            "`PermitTunnel yes` is in force for `git` (see /etc/ssh/sshd_config.d/10-other.conf:2",
        ),
        ("ForceCommand /bin/date\n", "`ForceCommand /bin/date` is in force"),
    ] {
        writes(machine, OTHER, &format!("Match User git\n{block}Match all\n"));
        refuses(machine, &["--replace"], why);
    }
    fs::remove_file(machine.path(OTHER)).expect("own file");

    let folder = machine.path(FOLDER);
    let away = folder.with_extension("away");
    fs::rename(&folder, &away).expect("own directory");
    with(&config.replace(INCLUDE, ""), "needs `Include");
    fs::rename(&away, &folder).expect("own directory");

    writes(machine, DROP_IN, "# the operator's own\n");
    refuses(machine, &[], "not from this package");
    fs::remove_file(machine.path(DROP_IN)).expect("own file");
}

fn a_link_that_sshd_does_not_read_is_reported(machine: &Machine) {
    let config = machine.read(CONFIG);
    writes(machine, CONFIG, &config.replace(INCLUDE, ""));
    refuses(machine, &[], "does not ask pushkeys-lookup");
    let said = machine.tries(&["pushkeys", "doctor", "--json"]).stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let missing = said["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .find(|finding| finding["check"] == "command-missing");
    let cure = missing.and_then(|finding| finding["cure"].as_str()).expect("a cure");
    machine.runs(&["sh", "-euc", cure]);
    assert!(machine.runs(&["pushkeys-sshd", "enable"]).contains("already"), "{cure}");
    writes(machine, CONFIG, &config);
}

/// Checks that the guide's blocks of `sshd_config` are in force in sshd.
#[track_caller]
fn settings_of_the_guide_for_newer_releases_are_accepted(machine: &Machine) {
    let settings_of = |who: &str| {
        machine.runs(&["sh", "-euc", &format!("sshd -T -C {who},host=a,addr=192.0.2.1 | tr A-Z a-z")])
    };
    let blocks = blocks_of("sshd_config", "docs/operating.md");
    assert!(!blocks.is_empty());
    let files: Vec<String> =
        (0..blocks.len()).map(|number| format!("{FOLDER}/6{number}-guide.conf")).collect();
    for (path, block) in files.iter().zip(&blocks) {
        writes(machine, path, block);
    }
    assert!(settings_of("user=git").contains("\npersourcepenaltyexemptlist 192.0.2.0/24,2001:db8:c1::/48\n"));
    assert!(settings_of("user=git").contains("\nrefuseconnection no\n"));
    assert!(settings_of("user=nobody-of-ours,invalid-user").contains("\nrefuseconnection yes\n"));
    for path in &files {
        fs::remove_file(machine.path(path)).expect("own file");
    }
}
