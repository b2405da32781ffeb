//! C1 to C4 and C6: the helper's answers, and how sshd uses them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use pushkeys_keys::LINE_BYTES_MAX;
use pushkeys_tests::{Key, LookupOutput, PushHost, Room, Service, as_user, eventually, run, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::interpose;

/// The default size of a pipe's buffer (pipe(7)).
const PIPE_BYTES: usize = 64 * 1024;

#[test]
fn c01_an_answer_counts_only_when_the_helper_succeeds() {
    let (service, room) = (Service::start(), Room::root_owned());
    let (ana, key) = (service.account("ana"), Key::ed25519());
    let check = |exit: &str| {
        let host =
            PushHost::start_with(&service, |sshd| interpose(sshd, &room, &format!("\"$@\"; exit {exit}")));
        host.learns(&key);
        host
    };
    ana.adds(&key, "laptop");

    check("0").login("git", &key).succeeds_as(&ana);

    let host = check("3");
    host.login("git", &key).is_refused();
    assert!(host.sshd.log().contains("failed, status 3"), "sshd names the status");
}

#[test]
fn c01_known_unknown_and_unanswerable_are_distinguished() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    let (ana, known, unknown) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&known, "laptop");
    host.learns(&known);

    let answer = host.lookup("git", &known.fingerprint());
    assert_eq!((answer.code, answer.stdout.lines().count()), (Some(0), 1), "{answer:?}");
    assert!(host.lookup("git", &unknown.fingerprint()).is_unknown());
    assert!(host.lookup("root", &known.fingerprint()).is_unknown(), "another login");

    // A running daemon would write HEAD again.
    host.syncd.stop();
    fs::rename(host.cache().join("api/HEAD"), host.cache().join("api/HEAD.away")).expect("root may");
    for key in [&known, &unknown] {
        let answer = host.lookup("git", &key.fingerprint());
        assert!(answer.code.is_some_and(|code| code != 0) && answer.stdout.is_empty(), "{answer:?}");
    }
    host.login("git", &known).is_refused();
    assert!(host.sshd.log().contains("failed, status"), "sshd logs an outage");
}

#[test]
fn c02_sshd_runs_the_helper_once_for_every_offer_and_once_for_the_signature() {
    let (service, room) = (Service::start(), Room::root_owned());
    let calls = room.write_with_mode("calls", "", 0o666);
    let script = format!("for last; do :; done; echo \"$last\" >>{}; exec \"$@\"", calls.display());
    let host = PushHost::start_with(&service, |sshd| interpose(sshd, &room, &script));
    let (ana, stranger, known) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&known, "laptop");
    host.learns(&known);

    host.login("git", &stranger).with_key(&known).succeeds_as(&ana);

    let expected = [&stranger, &known, &known].map(|key| key.fingerprint().to_string());
    assert_eq!(lines_of(&calls), expected);
}

#[test]
fn c02_the_answer_at_the_signature_decides() {
    let (service, room) = (Service::start(), Room::root_owned());
    let asked = room.join("asked");
    fs::create_dir(&asked).expect("own directory");
    fs::set_permissions(&asked, fs::Permissions::from_mode(0o777)).expect("own directory");
    // As if the key were deleted between the offer and the signature.
    let script = format!("mkdir {}/before 2>/dev/null || exit 0; exec \"$@\"", asked.display());
    let host = PushHost::start_with(&service, |sshd| interpose(sshd, &room, &script));
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);

    host.login("git", &key).is_refused();
    assert!(host.sshd.log().contains("Postponed publickey for git"), "the offer was accepted");
}

#[test]
fn c03_no_file_in_the_cache_makes_the_helper_wait() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    host.syncd.stop();
    let head = host.cache().join("api/HEAD");
    fs::rename(&head, host.cache().join("api/HEAD.away")).expect("root may");
    let _ = run(Command::new("mkfifo").args(["--mode", "0644"]).arg(&head)).output();

    // A program that opened the pipe would wait for a writer until the time limit.
    let answer = host.lookup("git", &Key::ed25519().fingerprint());
    assert!(answer.code.is_some_and(|code| code != 0), "{answer:?}");
}

#[test]
fn c03_the_helper_ends_when_its_answer_is_not_read() {
    let ended = ends_on_a_full_pipe(|_| {});
    assert_eq!(ended.signal(), Some(Signal::ALARM.as_raw()), "{ended}");
}

#[test]
fn c03_sigterm_ends_the_helper_at_once() {
    let ended = ends_on_a_full_pipe(|helper| {
        let _ = kill_process(Pid::from_child(helper), Signal::TERM);
    });
    assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "{ended}");
}

/// The exit status of a helper whose answer does not fit into the pipe, after `act`.
fn ends_on_a_full_pipe(act: impl FnOnce(&Child)) -> ExitStatus {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);

    let (_reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(&vec![b'x'; PIPE_BYTES]).expect("an empty pipe takes so much");
    let mut helper = host.helper();
    helper.arg("git").arg(key.fingerprint().to_string()).stdout(writer);
    let mut child = helper.spawn().expect("the helper is installed");
    let stat = format!("/proc/{}/stat", child.id());
    until("the helper waits for the pipe", || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains("(pushkeys-lookup) S "))
    });
    act(&child);
    eventually("the helper ends", || child.try_wait().expect("own child"))
}

#[test]
fn c04_sshd_gets_one_line_of_limited_length() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    for (name, arguments) in
        [("short", ["-t", "ed25519", "-b", "256"]), ("long", ["-t", "rsa", "-b", "8192"])]
    {
        let key = Key::generate(&arguments);
        ana.adds(&key, name);
        host.learns(&key);
        let answer = host.lookup("git", &key.fingerprint());
        assert_eq!(answer.stdout.matches('\n').count(), 1, "{answer:?}");
        assert!(answer.stdout.ends_with('\n') && answer.stdout.len() <= LINE_BYTES_MAX + 1, "{answer:?}");
        host.login("git", &key).succeeds_as(&ana);
    }
}

#[test]
fn c06_the_helper_ignores_its_environment() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);
    let ask = |variables: &[&str]| {
        // Only the helper gets these variables, and not setpriv before it.
        let mut helper = as_user("pushkeys-lookup", "env");
        helper.arg("--ignore-environment").args(variables);
        helper.args(host.files().helper().split(' ')).arg("git").arg(key.fingerprint().to_string());
        LookupOutput::from(run(&mut helper))
    };

    let answer = ask(&[]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let hostile = [
        "LD_PRELOAD=/nonexistent.so",
        "PUSHKEYS_CACHE=/nonexistent",
        "RUST_BACKTRACE=full",
        "RUST_LOG=trace",
        "TZ=:/nonexistent",
    ];
    assert_eq!(ask(&hostile), answer);
}

#[test]
fn c06_standard_error_is_empty_even_without_an_answer() {
    let service = Service::start();
    let host = PushHost::start(&service);
    fs::rename(host.cache(), host.cache().with_extension("away")).expect("root may");
    let answer = host.lookup("git", &Key::ed25519().fingerprint());
    assert!(answer.code.is_some_and(|code| code != 0), "{answer:?}");
    assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), ("", ""), "{answer:?}");
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("own file").lines().map(str::to_owned).collect()
}
