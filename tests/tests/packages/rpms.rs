//! The rpm, installed, replaced and erased by rpm itself, including its scripts. The root folder is Debian's, since Fedora's
//! cannot be made here: dependencies and systemd's presets are not tested.

use std::fs;
use std::process::Command;

use pushkeys_tests::{Key, run_within, until};

use crate::made::{AFTER, BEFORE, rpm};
use crate::root::{Debian, Machine, STEP_TIME_MAX, succeeded};
use crate::{DROP_IN, NO_PORT, SYNCD};

fn runs_rpm(machine: &Machine, words: &[&str]) -> String {
    let mut command = Command::new("rpm");
    command.args(["--dbpath", "/var/lib/rpm", "--nodeps", "--root"]).arg(machine.path("/")).args(words);
    succeeded(words, run_within(&mut command, STEP_TIME_MAX))
}

#[test]
fn the_rpm_installs_upgrades_and_leaves() {
    let machine = Machine::copy(Debian::Trixie, NO_PORT);
    let package = |version: &str| rpm("pushkeys", version).to_string_lossy().into_owned();
    runs_rpm(&machine, &["--install", &package(BEFORE)]);
    assert_eq!(runs_rpm(&machine, &["--verify", "pushkeys"]), "", "every file is unchanged");
    for user in ["pushkeys", "pushkeys-lookup", "git"] {
        assert!(machine.runs(&["id", "-nG", user]).contains("pushkeys"), "{user}");
    }

    let key = Key::ed25519();
    fs::write(machine.path("/etc/pushkeys/keys/acct_ana.pub"), key.text()).expect("own file");
    let configuration = machine.path("/etc/pushkeys/syncd.toml");
    let edited = machine.read("/etc/pushkeys/syncd.toml") + "# a sysadmin's line\n";
    fs::write(&configuration, &edited).expect("own file");
    machine.runs(&["pushkeys-sshd", "enable"]);
    let syncd = machine.starts_unit(SYNCD);
    let answers = || machine.runs(&["pushkeys", "list"]).contains("acct_ana");
    until("the key is in the cache", || machine.path("/var/lib/pushkeys/cache/local/HEAD").exists());
    assert!(answers());
    drop(syncd);

    runs_rpm(&machine, &["--upgrade", &package(AFTER)]);
    assert_eq!(fs::read_to_string(&configuration).expect("a file"), edited, "edited files are kept");
    assert!(machine.path(DROP_IN).is_symlink() && answers(), "an enabled drop-in stays enabled");

    runs_rpm(&machine, &["--erase", "pushkeys"]);
    assert!(!machine.path(DROP_IN).is_symlink(), "sshd does not run a missing helper");
    machine.runs(&["/usr/sbin/sshd", "-t"]);
    for path in [
        "/usr/sbin/pushkeys-syncd",
        "/usr/libexec/pushkeys",
        "/usr/share/pushkeys",
        "/etc/pushkeys/syncd.toml",
    ] {
        assert!(!machine.path(path).exists(), "{path}");
    }
    assert_eq!(machine.read("/etc/pushkeys/syncd.toml.rpmsave"), edited);
    assert!(machine.path("/etc/pushkeys/keys/acct_ana.pub").exists(), "the operator's files stay");
}
