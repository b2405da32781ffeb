//! Repositories are created only by pushes that store something.

use std::fs;
use std::path::Path;

use crate::world::{Host, fails, run, spawn, succeeds, text, until};

const URL: &str = "git@host:app.git";

/// Whether the account has a repository, on disk and for a client.
#[track_caller]
fn has_repository(host: &Host, client: &Path) -> bool {
    let listed = run(host.git(client, &["ls-remote", URL]));
    let is_there = host.repository().exists();
    assert_eq!(listed.status.success(), is_there, "{}", text(&listed.stderr));
    is_there
}

#[test]
fn a_first_push_creates_a_repository_and_prints_its_url() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(
        said.contains("remote: pushkeys: created the repository `app` of ana: git@198.51.100.7:app.git"),
        "{said}"
    );
    copy.commits(&host, "second", "2");
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(!said.contains("pushkeys"), "{said}");
    host.set("create = \"first-push\"\nhost = \"push.example.com\"");
    let said = succeeds(host.git(copy.path(), &["push", "git@host:team/app.git", "main"]));
    assert!(
        said.contains("created the repository `team/app` of ana: git@push.example.com:team/app.git"),
        "{said}"
    );
}

#[test]
fn a_first_push_that_is_refused_leaves_no_repository() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    copy.commits(&host, "second", "2");

    succeeds(host.git(&host.path(""), &["init", "--quiet", "--object-format=sha256", "sha256"]));
    succeeds(host.git(&host.path("sha256"), &["commit", "--quiet", "--allow-empty", "--message=x"]));
    fails(host.git(&host.path("sha256"), &["push", URL, "main"]));
    assert!(!has_repository(&host, copy.path()), "objects of another kind");

    let source = format!("file://{}", copy.path().display());
    succeeds(host.git(&host.path(""), &["clone", "--quiet", "--depth=1", &source, "shallow"]));
    let message = fails(host.git(&host.path("shallow"), &["push", URL, "main"]));
    assert!(message.contains("shallow update not allowed"), "{message}");
    assert!(!has_repository(&host, copy.path()), "a shallow push");

    succeeds(host.git(copy.path(), &["push", "--dry-run", "origin", "main"]));
    assert!(!has_repository(&host, copy.path()), "a push that changes nothing");

    host.set("create = \"first-push\"\n[limits]\nref_name_bytes = 12");
    let message = fails(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(message.contains("this push is refused: "), "{message}");
    assert!(!has_repository(&host, copy.path()), "a push beyond a limit");

    host.set("create = \"first-push\"");
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(has_repository(&host, copy.path()));
    assert_eq!(fs::read_dir(host.path("root/acct_7")).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_silent_session_leaves_no_repository_and_removes_no_other() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    let mut silent = spawn(host.shell("git-receive-pack 'app'"));
    until("the repository is there", || host.repository().exists());
    let listed = run(host.git(copy.path(), &["ls-remote", URL]));
    assert!(text(&listed.stderr).contains("ana has no repository `app`"), "it is not visible yet");

    let second = spawn(host.shell("git-receive-pack 'app'"));
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    drop(silent.stdin.take());
    silent.wait().unwrap();
    drop(second);
    assert!(has_repository(&host, copy.path()));
    succeeds(host.git(copy.path(), &["fetch", "origin"]));

    let mut silent = spawn(host.shell("git-receive-pack 'other'"));
    until("the repository is there", || host.path("root/acct_7/other.git").exists());
    silent.kill().unwrap();
    silent.wait().unwrap();
    // The killed session could not remove its repository. Readers do not see it, and the next push takes it over.
    let message = fails(host.git(copy.path(), &["ls-remote", "git@host:other.git"]));
    assert!(message.contains("ana has no repository `other`"), "{message}");
    succeeds(host.git(copy.path(), &["push", "git@host:other.git", "main"]));
    succeeds(host.git(copy.path(), &["ls-remote", "git@host:other.git"]));
}

#[test]
fn a_repository_created_by_the_operator_is_kept() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(&host.path("root"), &["init", "--quiet", "--bare", "acct_7/app.git"]));
    succeeds(host.git(copy.path(), &["push", "--dry-run", "origin", "main"]));
    assert!(has_repository(&host, copy.path()));
}

#[test]
fn no_repository_is_created_inside_another() {
    let host = Host::with_settings("path = \"{account}/{repository}\"\ncreate = \"first-push\"");
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let message = fails(host.git(copy.path(), &["push", "git@host:app/hooks.git", "main"]));
    assert!(message.contains("`app/hooks` would be inside another repository"), "{message}");
    assert!(!host.path("root/acct_7/app/hooks").exists());
    succeeds(host.git(copy.path(), &["push", "git@host:team/app.git", "main"]));
    let message = fails(host.git(copy.path(), &["push", "git@host:team.git", "main"]));
    assert!(message.contains("`team` is a folder of repositories"), "{message}");
}
