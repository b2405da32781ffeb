//! The limits of accounts, pushes and repositories.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{Host, WorkingCopy, fails, revision, run, spawn, succeeds, text, until};

const URL: &str = "git@host:app.git";

fn host_with(limits: &str) -> (Host, WorkingCopy) {
    let host = Host::with_settings(&format!("create = \"first-push\"\n[limits]\n{limits}"));
    let copy = host.copy("copy", URL);
    (host, copy)
}

#[track_caller]
fn is_refused(host: &Host, copy: &WorkingCopy, refspec: &str, expected: &str) {
    let message = fails(host.git(copy.path(), &["push", "origin", refspec]));
    assert!(message.contains(expected), "{message}");
}

#[test]
fn concurrent_sessions_of_an_account_are_limited() {
    let (host, copy) = host_with("sessions = 2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let sessions: Vec<Child> = (0..2).map(|_| spawn(host.shell("git-upload-pack 'app'"))).collect();
    let locks = host.path("root/.pushkeys/sessions/acct_7");
    let is_taken = |number: &str| {
        let file = fs::File::open(locks.join(number));
        file.is_ok_and(|file| file.try_lock().is_err())
    };
    until("both run", || is_taken("0") && is_taken("1"));
    let message = fails(host.git(copy.path(), &["ls-remote", "origin"]));
    assert!(
        message.contains(
            "pushkeys: ana has 2 sessions on this host at the moment, the most that one account may have\n"
        ),
        "{message}"
    );
    let other = fails(host.git_of("ben", copy.path(), &["ls-remote", "origin"]));
    assert!(other.contains("ben has no repository"), "another account is served: {other}");
    for session in sessions {
        drop(session.wait_with_output());
    }
    succeeds(host.git(copy.path(), &["ls-remote", "origin"]));
}

#[test]
fn an_idle_session_is_ended() {
    let (host, copy) = host_with("idle_s = 1");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    for command in ["git-upload-pack 'app'", "git-receive-pack 'app'"] {
        let begin = Instant::now();
        let mut silent = host.shell(command);
        let mut silent =
            silent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = silent.stdin.take();
        let output = silent.wait_with_output().unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(1));
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr)
                .contains("pushkeys: this session ends: nothing was sent or received for 1 s\n"),
            "{}",
            text(&output.stderr)
        );
        drop(input);
    }
    // git reports every five seconds that a hook still runs, so the session is not idle. A busy hook is not idle either.
    host.hook("pre-receive", "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done");
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
}

#[test]
fn bytes_of_one_push() {
    let (host, copy) = host_with("push_mib = 1");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let before = revision(&host, &host.repository(), "main");
    fs::write(copy.path().join("large"), noise(1, 2 << 20)).unwrap();
    copy.commits(&host, "more", "more");
    is_refused(
        &host,
        &copy,
        "main",
        "pushkeys: nothing of this push is stored: it is larger than the 1 MiB that this host accepts at once",
    );
    assert_eq!(revision(&host, &host.repository(), "main"), before);
}

#[test]
fn the_sizes_of_repositories_and_accounts_are_limited() {
    let (host, copy) = host_with("repository_mib = 3");
    let grow = |name: &str| {
        fs::write(copy.path().join(name), noise(name.len(), 2 << 20)).unwrap();
        copy.commits(&host, &format!("{name}.txt"), name);
    };
    grow("first");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    grow("second");
    is_refused(
        &host,
        &copy,
        "main",
        "remote: pushkeys: this push is refused: the repository would take more than the 3 MiB that one repository may take",
    );
    until("what was refused is gone", || mebibytes(&host.repository()) < 4);

    host.set("create = \"first-push\"\n[limits]\naccount_mib = 3");
    let message = fails(host.git(copy.path(), &["push", "git@host:other.git", "main"]));
    let expected =
        "all repositories of ana would take more than the 3 MiB that one account may take on this host";
    assert!(message.contains(expected), "{message}");
    assert!(!host.path("root/acct_7/other.git").exists());
    succeeds(host.git_of("ben", copy.path(), &["push", "origin", "main~1:refs/heads/main"]));
}

#[test]
fn the_number_of_an_accounts_repositories_is_limited() {
    let (host, copy) = host_with("repositories = 2");
    for name in ["app", "team/app"] {
        succeeds(host.git(copy.path(), &["push", &format!("git@host:{name}.git"), "main"]));
    }
    let message = fails(host.git(copy.path(), &["push", "git@host:third.git", "main"]));
    let expected =
        "`third` cannot be created: ana has 2 repositories, the most that one account has on this host";
    assert!(message.contains(expected), "{message}");
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
}

#[test]
fn references_and_their_names_are_limited() {
    let (host, copy) = host_with("refs = 3\nref_name_bytes = 30");
    let push = |refspecs: &[&str]| run(host.git(copy.path(), &[&["push", "origin"], refspecs].concat()));
    assert!(push(&["main", "main:a", "main:b"]).status.success());
    is_refused(&host, &copy, "main:c", "`app` would have more than the 3 references that this host accepts");
    let pushed = push(&[":a", "main:c"]);
    assert!(pushed.status.success(), "one goes and one comes: {pushed:?}");
    assert!(push(&[":b"]).status.success());
    is_refused(
        &host,
        &copy,
        "main:a-name-that-is-too-long",
        "the name of `refs/heads/a-name-that-is-too-long` is 34 bytes long, and this host accepts at most 30",
    );
    is_refused(&host, &copy, "main:refs/replace/1", "deny updating a hidden ref");
    assert!(push(&["main:b"]).status.success());
}

/// A pack of some kilobytes that unpacks to an object of more than a gibibyte.
#[test]
fn memory_of_git() {
    let (host, copy) = host_with("");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    // The client's data: the command that creates a branch, and a pack.
    let bomb = run({
        let mut python = Command::new("python3");
        python.args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/git/delta_bomb.py"), "1536"]);
        python
    });
    assert!(bomb.status.success() && bomb.stdout.len() < 20_000, "{bomb:?}");
    let mut push = spawn(host.shell("git-receive-pack 'app'"));
    let mut input = push.stdin.take().unwrap();
    input.write_all(&bomb.stdout).unwrap();
    let peak = peak_memory_kib(&mut push);
    let output = push.wait_with_output().unwrap();
    drop(input);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("over limit 268435456") || said.contains("Out of memory"), "{said}");
    assert!(peak < 256 << 10, "{peak} KiB");
    assert_eq!(revision(&host, &host.repository(), "bomb"), "");
}

/// `count` incompressible bytes, which depend on `seed`.
fn noise(seed: usize, count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64 + seed as u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_ne_bytes()
    };
    std::iter::repeat_with(next).flatten().take(count).collect()
}

fn mebibytes(folder: &Path) -> u64 {
    let listed = run({
        let mut du = Command::new("du");
        du.args(["--summarize", "--block-size=1M"]).arg(folder);
        du
    });
    text(&listed.stdout).split('\t').next().unwrap().parse().unwrap()
}

/// The peak memory of all processes below `parent`, until it ends.
fn peak_memory_kib(parent: &mut Child) -> u64 {
    let mut peak = 0;
    while parent.try_wait().unwrap().is_none() {
        let mut pids = vec![parent.id()];
        let mut resident = 0;
        while let Some(pid) = pids.pop() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            pids.extend(children.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
            resident += line.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        }
        peak = peak.max(resident);
    }
    peak
}
