//! The operator's program after a push, and the example that ships with the package.

use std::fs;

use crate::world::{Host, is_running, revision, run, succeeds, text, until};

const URL: &str = "git@host:app.git";

fn host_that_deploys(program: &str) -> Host {
    host_that_deploys_with(program, "")
}

fn host_that_deploys_with(program: &str, settings: &str) -> Host {
    let host = Host::start();
    let program = host.write("deploy", program);
    host.set(&format!("create = \"first-push\"\n[deploy]\nprogram = \"{}\"\n{settings}", program.display()));
    host
}

#[test]
fn the_program_gets_identity_and_changes_and_the_pusher_gets_its_output() {
    let host =
        host_that_deploys_with("#!/bin/sh\nsed 's/^/got /'; pwd | sed 's,.*/root/,in ,'\n", "branch = \"*\"");
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main", "main:next"]));
    let none = "0".repeat(40);
    for line in [
        "got {\"account\":\"acct_7\",\"account_name\":\"ana\",\"key_id\":\"key_42\",\"key_name\":\"my \\\"work\\\" laptop\",\"fingerprint\":\"SHA256:JNS5b1jabUqFEjE7vQKijr8MqV3sbkyG73jOfwHniKw\",\"address\":\"192.0.2.1\",\"repository\":\"app\",\"path\":\"acct_7/app.git\",\"url\":\"git@198.51.100.7:app.git\"}",
        &format!("got {none} {} refs/heads/main", copy.head(&host)),
        &format!("got {none} {} refs/heads/next", copy.head(&host)),
        "in acct_7/app.git",
    ] {
        assert!(said.contains(&format!("remote: {line}")), "{line}: {said}");
    }
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(!said.contains("got"), "nothing changed: {said}");
    let said = succeeds(host.git(copy.path(), &["ls-remote", "origin"]));
    assert!(!said.contains("got"), "nothing was pushed: {said}");
}

#[test]
fn a_failed_program_is_reported_and_the_push_is_kept() {
    let host = host_that_deploys("#!/bin/sh\necho no disk >&2; exit 3\n");
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(said.contains("remote: no disk"), "{said}");
    assert!(said.contains("remote: pushkeys: your push is stored, and was not deployed: "), "{said}");
    assert!(said.contains("ended with status 3"), "{said}");
    assert_eq!(revision(&host, &host.repository(), "main"), copy.head(&host));
}

#[test]
fn a_push_is_refused_when_the_program_is_missing() {
    for missing in ["deploy", "hooks/post-receive"] {
        let host = host_that_deploys("#!/bin/sh\n");
        let copy = host.copy("copy", URL);
        succeeds(host.git(copy.path(), &["push", "origin", "main"]));
        fs::remove_file(host.path(missing)).unwrap();
        copy.commits(&host, "second", "2");
        let refused = run(host.git(copy.path(), &["push", "origin", "main"]));
        assert!(!refused.status.success(), "{missing}");
        assert!(
            text(&refused.stderr).contains("pushkeys: this host cannot serve git at the moment"),
            "{missing}"
        );
    }
}

#[test]
fn a_failed_deployment_fails_the_push_if_configured() {
    for (required, is_success) in [("", true), ("required = true", false)] {
        let host = host_that_deploys_with("#!/bin/sh\necho no disk >&2; exit 3\n", required);
        let copy = host.copy("copy", URL);
        let push = run(host.git(copy.path(), &["push", "origin", "main"]));
        let said = text(&push.stderr);
        assert_eq!(push.status.success(), is_success, "{said}");
        assert!(said.contains("remote: pushkeys: your push is stored, and was not deployed: "), "{said}");
        assert_eq!(said.contains("remote: pushkeys: so this push counts as failed"), !is_success, "{said}");
        assert_eq!(revision(&host, &host.repository(), "main"), copy.head(&host), "it is stored");
    }
    let host = host_that_deploys_with("#!/bin/sh\n", "required = true");
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
}

#[test]
fn a_branch_that_is_not_deployed_is_reported() {
    let host = host_that_deploys_with("#!/bin/sh\nsed 's/^/got /'\n", "branch = \"live\"");
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(
        said.contains("remote: pushkeys: `main`: stored, and not deployed; this host deploys `live`"),
        "{said}"
    );
    assert!(!said.contains("got"), "{said}");
    let branches = ["main:b", "main:c", "main:d", "main:e", "main:refs/tags/v1"];
    let said = succeeds(host.git(copy.path(), &[&["push", "origin"], &branches[..]].concat()));
    assert!(said.contains("`b`, `c`, `d` and 1 more: stored, and not deployed"), "{said}");
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main:live", "main:f"]));
    assert!(said.contains(&format!("got {} {} refs/heads/live", "0".repeat(40), copy.head(&host))), "{said}");
    assert!(!said.contains("refs/heads/f") && !said.contains("not deployed"), "{said}");
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main:refs/tags/v2"]));
    assert!(!said.contains("pushkeys"), "a tag is not expected to be deployed: {said}");
}

/// The pushed files look like a repository whose configuration runs a program.
#[test]
fn git_that_is_started_in_pushed_files_does_not_read_their_configuration() {
    let script = "#!/bin/sh
        mkdir ../../../build
        git archive main | tar -x -C ../../../build
        cd ../../../build
        git status >&2
        git rev-parse --absolute-git-dir
        unset GIT_DIR
        git status >&2
        git rev-parse --absolute-git-dir";
    let host = host_that_deploys(script);
    let copy = host.copy("copy", URL);
    let ran = host.path("ran");
    for folder in ["objects", "refs/heads"] {
        fs::create_dir_all(copy.path().join(folder)).unwrap();
        fs::write(copy.path().join(folder).join(".keep"), "").unwrap();
    }
    fs::write(copy.path().join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let configuration = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \"touch {}; false\"\n",
        ran.display()
    );
    copy.commits(&host, "config", &configuration);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(!ran.exists(), "{said}");
    assert!(said.contains(&format!("remote: {}", host.repository().display())), "its own repository: {said}");
    assert!(
        said.contains("(safe.bareRepository is 'explicit')") || said.contains("not a git repository"),
        "{said}"
    );

    // Without the protection, the same program runs.
    succeeds({
        let mut git = host.git(&host.path("build"), &["status"]);
        git.env("GIT_DIR", ".");
        git
    });
    assert!(ran.exists());
}

#[test]
fn background_processes_of_a_program_do_not_block_a_push() {
    let pid = "sh -c 'echo $$ >../../../pid; exec sleep 1000'";
    for background in [format!("{pid} &"), format!("setsid {pid} &"), format!("setsid -f {pid}")] {
        let wait = "while ! [ -s ../../../pid ]; do sleep 0.01; done; echo done; exit 0";
        let host = host_that_deploys(&format!("#!/bin/sh\n{background}\n{wait}\n"));
        let copy = host.copy("copy", URL);
        let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
        assert!(said.contains("remote: done"), "{said}");
        until("it has ended with the session", || !is_running(&host.path("pid")));
    }
}

#[test]
fn the_limits_of_git_do_not_apply_to_the_program() {
    let host = host_that_deploys(
        "#!/bin/sh\nulimit -d; ulimit -f; env | grep -c -e ALLOC -e PUSHKEYS_RESULT -e PUSHKEYS_SHELL\n",
    );
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let lines: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim).collect();
    assert_eq!(lines.iter().filter(|line| **line == "unlimited").count(), 2, "{said}");
    assert!(lines.contains(&"0"), "{said}");
}

#[test]
fn a_repositorys_own_hooks_run_if_nothing_is_deployed() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    for name in ["pre-receive", "update", "post-receive", "post-update", "reference-transaction"] {
        host.hook(name, &format!("echo \"{name} of $GIT_DIR: $(cat) $*\""));
    }
    copy.commits(&host, "second", "2");
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let (old, new) = (revision(&host, copy.path(), "HEAD~1"), copy.head(&host));
    let repository = host.repository();
    for line in [
        format!("pre-receive of {}: {old} {new} refs/heads/main", repository.display()),
        format!("update of .:  refs/heads/main {old} {new}"),
        format!("post-receive of {}: {old} {new} refs/heads/main", repository.display()),
        "post-update of .:  refs/heads/main".to_owned(),
        "prepared".to_owned(),
        "committed".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
    host.hook("update", "echo not today; exit 1");
    copy.commits(&host, "third", "3");
    let refused = run(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(!refused.status.success() && text(&refused.stderr).contains("remote: not today"), "{refused:?}");
}
