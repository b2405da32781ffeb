//! Push, clone, fetch and archive, as users run them.

use std::fs;
use std::io::Write as _;
use std::process::Child;

use crate::world::{Host, fails, revision, run, spawn, succeeds, text, until};

const URL: &str = "git@host:app.git";
/// The number of concurrent pushes of a busy team's machines.
const PUSHES: usize = 50;

#[test]
fn pushed_commits_are_cloned_and_fetched() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert_eq!(revision(&host, &host.repository(), "main"), copy.head(&host));

    succeeds(host.git(&host.path(""), &["clone", "--branch", "main", URL, "clone"]));
    assert_eq!(fs::read_to_string(host.path("clone/index.html")).unwrap(), "<p>hello</p>\n");

    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    succeeds(host.git(&host.path("clone"), &["fetch", "origin"]));
    assert_eq!(revision(&host, &host.path("clone"), "origin/main"), copy.head(&host));
}

#[test]
fn every_form_of_url_names_the_same_repository() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let expected = format!("{}\trefs/heads/main", copy.head(&host));
    for url in [
        "git@host:app.git",
        "git@host:app",
        "git@host:/app.git",
        "ssh://git@host/app.git",
        "ssh://git@host:2222/app/",
        "git+ssh://git@host/app.git",
    ] {
        let listed = run(host.git(copy.path(), &["ls-remote", url]));
        assert!(text(&listed.stdout).contains(&expected), "{url}: {}", text(&listed.stderr));
    }
    for command in ["git-upload-pack app.git", "git-upload-pack \"/app.git\"", "'git' 'upload-pack' '~/app'"]
    {
        let mut shell = spawn(host.shell(command));
        shell.stdin.take().unwrap().write_all(b"0000").unwrap();
        let output = shell.wait_with_output().unwrap();
        assert!(text(&output.stdout).contains(&copy.head(&host)), "{command}: {}", text(&output.stderr));
    }
    let message = fails(host.git(copy.path(), &["ls-remote", "git@host:it's/app.git"]));
    assert!(message.contains("pushkeys: `git-upload-pack 'it'\\\\''s/app.git'` is refused: "), "{message}");
}

#[test]
fn a_clone_checks_out_the_first_pushed_branch() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main:trunk"]));
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main:another"]));
    succeeds(host.git(&host.path(""), &["clone", URL, "clone"]));
    assert_eq!(fs::read_to_string(host.path("clone/index.html")).unwrap(), "<p>hello</p>\n");
    let branch_of = |clone| text(&run(host.git(&host.path(clone), &["branch", "--show-current"])).stdout);
    assert_eq!(branch_of("clone"), "trunk");
    succeeds(host.git(copy.path(), &["push", "git@host:other.git", "main:a", "main"]));
    succeeds(host.git(&host.path(""), &["clone", "git@host:other.git", "other"]));
    assert_eq!(branch_of("other"), "main");
}

#[test]
fn shallow_and_partial_clones_omit_objects() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));

    let clone = |arguments: &[&str], name: &str| {
        let words = [&["clone", "--branch", "main"], arguments, &[URL, name]].concat();
        succeeds(host.git(&host.path(""), &words));
        host.path(name)
    };
    let shallow = clone(&["--depth", "1"], "shallow");
    assert_eq!(text(&run(host.git(&shallow, &["rev-list", "--count", "HEAD"])).stdout), "1");
    let partial = clone(&["--filter=blob:none", "--no-checkout"], "partial");
    let missing = run(host.git(&partial, &["rev-list", "--objects", "--missing=print", "HEAD"]));
    assert_eq!(text(&missing.stdout).matches('?').count(), 2);
    succeeds(host.git(&partial, &["checkout", "main"]));
    assert_eq!(fs::read_to_string(partial.join("second")).unwrap(), "2");
}

/// A client that cannot send `GIT_PROTOCOL` uses protocol 0, in which git refuses objects that are not tips unless configured otherwise.
#[test]
fn a_partial_clone_checks_out_with_every_protocol() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    copy.commits(&host, "second", "2");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    for version in ["0", "1", "2"] {
        let (option, name) = (format!("protocol.version={version}"), format!("clone-{version}"));
        let words = ["-c", &option, "clone", "--branch", "main", "--filter=blob:none", URL, &name];
        succeeds(host.git(&host.path(""), &words));
        assert_eq!(fs::read_to_string(host.path(&name).join("second")).unwrap(), "2", "protocol {version}");
    }
}

#[test]
fn push_options_are_accepted_if_configured() {
    for (settings, is_accepted) in
        [("create = \"first-push\"", false), ("create = \"first-push\"\npush_options = true", true)]
    {
        let host = Host::with_settings(settings);
        let copy = host.copy("copy", URL);
        succeeds(host.git(copy.path(), &["push", "origin", "main"]));
        host.hook("post-receive", "echo \"$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0\"");
        copy.commits(&host, "second", "2");
        let push = run(host.git(copy.path(), &["push", "--push-option=a b", "origin", "main"]));
        assert_eq!(push.status.success(), is_accepted, "{settings}: {}", text(&push.stderr));
        assert_eq!(text(&push.stderr).contains("remote: 1 a b"), is_accepted, "{}", text(&push.stderr));
    }
}

#[test]
fn the_clients_protocol_is_used() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    for (version, is_two) in [("2", true), ("0", false)] {
        let option = format!("protocol.version={version}");
        let mut git = host.git(copy.path(), &["-c", &option, "ls-remote", "origin"]);
        git.env("GIT_TRACE_PACKET", "1");
        let trace = succeeds(git);
        assert_eq!(trace.contains("ls-remote< version 2"), is_two, "{trace}");
        assert!(trace.contains("refs/heads/main"), "{trace}");
    }
}

#[test]
fn an_archive_is_made() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let archive = succeeds(host.git(copy.path(), &["archive", "--remote", URL, "main"]));
    assert!(archive.contains("<p>hello</p>"));
}

#[test]
fn fifty_concurrent_pushes_create_one_repository() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    let push = |number| spawn(host.git(copy.path(), &["push", "origin", &format!("main:branch-{number}")]));
    let pushes: Vec<Child> = (0..PUSHES).map(push).collect();
    for push in pushes {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let branches = run(host.git(&host.repository(), &["for-each-ref", "--format=%(objectname)"]));
    assert_eq!(text(&branches.stdout), vec![copy.head(&host); PUSHES].join("\n"));
    let account = fs::read_dir(host.path("root/acct_7")).unwrap();
    assert_eq!(account.count(), 1, "nothing is left of those that lost the race");
}

#[test]
fn the_exit_status_is_gits() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert_eq!(
        run(host.shell("git-upload-pack 'app'")).status.code(),
        Some(128),
        "a client that says nothing"
    );
    host.hook("pre-receive", "echo not on a Friday >&2; exit 1");
    copy.commits(&host, "second", "2");
    let message = fails(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(message.contains("remote: not on a Friday"), "{message}");
}

#[test]
fn a_repository_owned_by_another_user_is_served() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    std::os::unix::fs::chown(host.repository(), Some(65534), Some(65534)).unwrap();
    succeeds(host.git(copy.path(), &["ls-remote", "origin"]));
}

#[test]
fn git_gets_a_minimal_environment() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    host.hook("post-receive", "env >../../../environment");
    copy.commits(&host, "second", "2");
    let mut push = host.git(copy.path(), &["push", "origin", "main"]);
    push.env("GIT_PROTOCOL", "version=2;id");
    succeeds(push);
    until("the hook ran", || host.path("environment").exists());
    let environment = fs::read_to_string(host.path("environment")).unwrap();
    // A shell and git itself set these for a hook.
    let theirs = ["PWD", "OLDPWD", "SHLVL", "_", "GIT_DIR", "GIT_EXEC_PATH", "GIT_PUSH_OPTION_COUNT"];
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !name.starts_with("GIT_CONFIG_") && !theirs.contains(name));
    names.sort_unstable();
    let ours = [
        "ACCOUNT",
        "ACCOUNT_NAME",
        "ADDRESS",
        "FINGERPRINT",
        "KEY_ID",
        "KEY_NAME",
        "LOGIN",
        "PATH",
        "REPOSITORY",
        "URL",
    ]
    .map(|name| format!("PUSHKEYS_{name}"));
    let ours = ours.iter().map(String::as_str);
    assert_eq!(names, ["GIT_ALLOC_LIMIT", "HOME", "PATH"].into_iter().chain(ours).collect::<Vec<_>>());
    assert_eq!(environment.matches("/nonexistent").count(), 1, "a home, and nothing that a client set");
    let git_dir = format!("GIT_DIR={}", host.repository().display());
    for line in [&git_dir, "HOME=/nonexistent", "PUSHKEYS_ACCOUNT=acct_7", "PUSHKEYS_REPOSITORY=app"] {
        assert!(environment.lines().any(|other| other == line), "{line}: {environment}");
    }
}
