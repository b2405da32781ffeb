//! The real packages on a real Debian: their contents, and their life from installation to purge.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod booted;
mod enabling;
mod guide;
mod key_kinds;
mod made;
mod root;
mod rpms;
mod systemctl;
mod systemd;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use made::{AFTER, BEFORE, deb, repository, rpm};
use pushkeys_tests::{Key, Process, run, until};
use root::{Debian, Machine};

/// The minimum number of logins during the upgrade of the package.
const LOGINS_MIN: u32 = 5;
const SYNCD: &str = "pushkeys-syncd.service";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-pushkeys.conf";
/// Such a machine needs no port.
const NO_PORT: u16 = 0;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

#[test]
fn packages_install_serve_logins_upgrade_under_load_and_leave_nothing_behind() {
    deb_and_rpm_hold_the_same();
    let machine = Machine::copy(Debian::Bookworm, free_port());
    let before = machine.files();

    let printed = the_readme_installs(&machine) + &machine.installs(&deb("pushkeys-server", BEFORE));
    assert!(printed.contains("pushkeys-sshd enable"), "says what to do next: {printed}");
    packaged_files_are_valid(&machine);
    users_and_folders_match_sysusers_and_tmpfiles(&machine);
    assert!(!machine.path(DROP_IN).exists(), "sshd is unchanged until it is enabled");

    let key = Key::ed25519();
    fs::write(machine.path("/etc/pushkeys/keys/acct_ana.pub"), key.text()).expect("own file");
    let (sshd, mut syncd) = (machine.starts_sshd(), machine.starts_unit(SYNCD));
    until("the key is in the cache", || machine.path("/var/lib/pushkeys/cache/local/HEAD").exists());
    assert!(!machine.greets(&key), "no login works yet");
    machine.runs(&["pushkeys-sshd", "enable"]);
    until("sshd has read its configuration again", || machine.greets(&key));
    machine.runs(&["pushkeys", "verify"]);
    assert!(machine.runs(&["pushkeys-sshd", "enable"]).contains("already"));

    assert!(syncd.stop().success());
    guide::every_command_of_the_documents_runs(&machine, free_port());
    syncd = machine.starts_unit(SYNCD);

    upgrade_under_load(&machine, &key, &mut syncd);
    // Like the package where systemd runs.
    assert!(syncd.stop().success());
    removal_and_purge_leave_other_files(&machine, &key, &before);
    what_is_purged_can_be_installed_again(&machine, &key);
    drop(sshd);
}

/// Both are made from the same folder, by tools with different patterns.
#[track_caller]
fn deb_and_rpm_hold_the_same() {
    for name in ["pushkeys", "pushkeys-server"] {
        let rpm_file = rpm(name, BEFORE);
        let stage = repository().join("target/packages/stage").join(name);
        let staged =
            run(Command::new("find").arg(&stage).args(["-type", "f", "-printf", "/%P %m\\n"])).output();
        let staged: BTreeSet<&str> = staged.lines().collect();
        let rpm = run(Command::new("rpm")
            .args(["-qp", "--qf", "[%{FILENAMES} %{FILEMODES:octal}\\n]"])
            .arg(rpm_file))
        .output();
        let rpm = rpm.replace(" 100", " ");
        assert_eq!(rpm.lines().collect::<BTreeSet<_>>(), staged, "{name}.rpm");
        let listed = run(Command::new("dpkg-deb").arg("-c").arg(deb(name, BEFORE))).output();
        let files = listed.lines().filter(|line| line.starts_with('-')).filter_map(|line| {
            let path = line.split_whitespace().last()?.trim_start_matches('.');
            let mode = if line.starts_with("-rwxr-xr-x") { "755" } else { "644" };
            // Debian compresses manual pages, and has a file for the licence.
            let path = if path.contains("/man/") { path.trim_end_matches(".gz") } else { path };
            (!path.ends_with("/copyright")).then(|| format!("{path} {mode}"))
        });
        let deb: BTreeSet<String> = files.collect();
        assert_eq!(deb.iter().map(String::as_str).collect::<BTreeSet<_>>(), staged, "{name}.deb");
    }
}

#[track_caller]
fn packaged_files_are_valid(machine: &Machine) {
    let as_syncd = ["setpriv", "--reuid=pushkeys", "--regid=pushkeys", "--init-groups", "--"];
    let check = |words: &[&str]| machine.tries(&[&as_syncd, words].concat());
    let finished = check(&["pushkeys-syncd", "check"]);
    assert!(finished.status.success() && !finished.stdout.contains("warning"), "{finished:?}");
    machine.runs(&["pushkeys-server", "check"]);
    machine.runs(&["/usr/sbin/sshd", "-t", "-f", "/usr/share/pushkeys/sshd_config.d/50-pushkeys.conf"]);
    let unit = machine.read("/usr/lib/systemd/system/pushkeys-syncd.service");
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split(' ').next());
    machine.runs(&["test", "-x", program.expect("a program")]);
}

/// tmpfiles.d matches `prepare-host`, for images that are made without maintainer scripts.
#[track_caller]
fn users_and_folders_match_sysusers_and_tmpfiles(machine: &Machine) {
    for name in ["pushkeys", "pushkeys-server"] {
        let folders = machine.read(&format!("/usr/lib/tmpfiles.d/{name}.conf"));
        for line in folders.lines().filter(|line| line.starts_with("d ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, path, mode, user, group, ..] = words.as_slice() else { panic!("{line}") };
            let found = machine.runs(&["stat", "--format", "0%a %U %G", path]);
            assert_eq!(found.trim(), format!("{mode} {user} {group}"), "{path}");
        }
        let users = machine.read(&format!("/usr/lib/sysusers.d/{name}.conf"));
        for line in users.lines().filter(|line| line.starts_with(['u', 'g', 'm'])) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["u", user, ..] => {
                    assert!(machine.runs(&["getent", "passwd", user]).contains(":/nonexistent:"));
                }
                ["g", group, ..] => assert!(!machine.runs(&["getent", "group", group]).is_empty()),
                ["m", user, group] => assert!(machine.runs(&["id", "-nG", user]).contains(group)),
                _ => panic!("{line}"),
            }
        }
    }
    assert!(machine.runs(&["getent", "shadow", "git"]).starts_with("git:*:"), "open to sshd without PAM");
    assert!(machine.runs(&["id", "-nG", "git"]).contains("pushkeys"));
}

/// Installs the packages as in the README; `make packages` has been run.
fn the_readme_installs(machine: &Machine) -> String {
    let block = guide::blocks("README.md").into_iter().find(|block| block.starts_with("make packages"));
    let commands = block.expect("how to install").replacen("make packages ", "true ", 1);
    machine.receives(&deb("pushkeys", BEFORE), "/target/packages");
    let printed = machine.runs(&["sh", "-euxc", &format!("cd /\n{commands}")]);
    fs::remove_dir_all(machine.path("/target")).expect("own directory");
    printed
}

fn upgrade_under_load(machine: &Machine, key: &Key, syncd: &mut Process) {
    let configuration = machine.path("/etc/pushkeys/syncd.toml");
    let edited = fs::read_to_string(&configuration).expect("a file") + "# a sysadmin's line\n";
    fs::write(&configuration, &edited).expect("own file");
    let (count, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let session = machine.login(key);
                let is_let_in = session.status.success() && session.stdout.contains("your key works");
                assert!(is_let_in, "a login failed during the upgrade: {session:?}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let go_on = |times: u32| {
            let wanted = count.load(Ordering::Relaxed) + times;
            until("logins continue", || visitor.is_finished() || count.load(Ordering::Relaxed) >= wanted);
        };
        go_on(LOGINS_MIN);
        machine.installs(&deb("pushkeys", AFTER));
        // Like the package where systemd runs.
        assert!(syncd.stop().success());
        go_on(LOGINS_MIN);
        *syncd = machine.starts_unit(SYNCD);
        go_on(LOGINS_MIN);
        is_over.store(true, Ordering::Relaxed);
        visitor.join().expect("every login went well");
    });
    assert_eq!(machine.runs(&["dpkg-query", "-W", "-f", "${Version}", "pushkeys"]), AFTER);
    assert_eq!(fs::read_to_string(&configuration).expect("a file"), edited, "edited files are kept");
    assert!(machine.path(DROP_IN).is_symlink(), "an enabled drop-in stays enabled");
}

fn removal_and_purge_leave_other_files(machine: &Machine, key: &Key, before: &BTreeSet<String>) {
    until("the login works again", || machine.greets(key));
    machine.runs(&["dpkg", "--remove", "pushkeys", "pushkeys-server"]);
    machine.runs(&["/usr/sbin/sshd", "-t"]);
    assert!(!machine.path(DROP_IN).is_symlink());
    until("no login works any more", || !machine.greets(key));
    for path in ["/etc/pushkeys/syncd.toml", "/var/lib/pushkeys/cache/local/HEAD"] {
        assert!(machine.path(path).exists(), "{path} outlives a removal");
    }

    let token = machine.path("/etc/pushkeys/host.token");
    fs::write(&token, "secret").expect("own file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("own file");
    let backup = machine.path("/var/lib/pushkeys-server/backup.db");
    fs::write(&backup, "users' keys").expect("own file");
    let said = machine.runs(&["dpkg", "--purge", "pushkeys", "pushkeys-server"]);
    for kept in ["rm -r /var/lib/pushkeys/cache /etc/pushkeys/host.token", "rm -r /var/lib/pushkeys-server"] {
        assert!(said.contains(kept), "{said}");
    }
    let after = machine.files();
    let left: Vec<&str> = after.difference(before).map(String::as_str).collect();
    // The login's home, since repositories may belong to the login; the key of a sysadmin; and what cannot be had again. The others
    // are the backups that useradd and userdel make.
    let is_backup = |path: &str| path.starts_with("/etc/") && path.ends_with('-');
    let kept = [
        "/var/lib/pushkeys/cache/SESSIONS/",
        "/var/lib/pushkeys-server/",
        "/etc/pushkeys/server.credentials/",
    ];
    let is_kept = |path: &str| kept.iter().any(|folder| path.starts_with(folder));
    let left: Vec<&str> = left.into_iter().filter(|path| !is_backup(path) && !is_kept(path)).collect();
    let expected = [
        "/etc/pushkeys",
        "/etc/pushkeys/host.token",
        "/etc/pushkeys/keys",
        "/etc/pushkeys/keys/acct_ana.pub",
        "/var/lib/pushkeys",
        "/var/lib/pushkeys-server",
        "/var/lib/pushkeys/cache",
        "/var/lib/pushkeys/cache/SESSIONS",
        "/var/lib/pushkeys/git",
    ];
    let optional = ["/etc/pushkeys/server.credentials", "/var/lib/pushkeys/cache/REVOKED"];
    assert_eq!(left.into_iter().filter(|path| !optional.contains(path)).collect::<Vec<_>>(), expected);
    assert!(backup.exists(), "a backup outlives a purge");
    assert!(before.difference(&after).next().is_none(), "no other file is missing");
    assert!(!machine.tries(&["getent", "passwd", "pushkeys-lookup"]).status.success(), "it owns nothing");
    // Who owns what is kept.
    for user in ["pushkeys", "pushkeys-server", "git"] {
        machine.runs(&["getent", "passwd", user]);
    }
}

fn what_is_purged_can_be_installed_again(machine: &Machine, key: &Key) {
    machine.installs(&deb("pushkeys", AFTER));
    users_of_the_host_are_in_the_group(machine);
    let syncd = machine.starts_unit(SYNCD);
    machine.runs(&["pushkeys-sshd", "enable"]);
    until("the login works again", || machine.greets(key));
    drop(syncd);
}

#[track_caller]
fn users_of_the_host_are_in_the_group(machine: &Machine) {
    for user in ["git", "pushkeys-lookup"] {
        assert!(machine.runs(&["id", "-nG", user]).contains("pushkeys"), "{user}");
    }
}
