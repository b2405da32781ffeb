//! Access to repositories.

use std::fs;
use std::os::unix::fs::symlink;

use crate::world::{Host, fails, run, succeeds, text};

const URL: &str = "git@host:app.git";

#[test]
fn every_account_has_its_own_repositories() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let message = fails(host.git_of("ben", copy.path(), &["ls-remote", "origin"]));
    assert!(
        message.contains(
            "pushkeys: ben has no repository `app` on this host\n\
             you are known here as ben (acct_8), by key my \"work\" laptop (key_42)\n\
             hint: `ssh -T git@198.51.100.7` lists the repositories that you have here"
        ) && !message.contains("git push"),
        "{message}"
    );
    succeeds(host.git_of("ben", copy.path(), &["push", "origin", "main:bens"]));
    assert!(!succeeds(host.git(copy.path(), &["ls-remote", "origin"])).contains("bens"));
    assert!(host.path("root/acct_8/app.git/HEAD").exists());
}

#[test]
fn a_repository_is_created_only_by_a_push_and_only_if_configured() {
    let host = Host::with_settings("");
    let copy = host.copy("copy", URL);
    let message = fails(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(
        message.contains("pushkeys: ana has no repository `app` on this host\n")
            && message.contains("\nhint: ask the operator of this host to create it"),
        "{message}"
    );
    assert!(!host.path("root/acct_7").exists());
    succeeds(host.git(&host.path("root"), &["init", "--quiet", "--bare", "acct_7/app.git"]));
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
}

#[test]
fn no_link_leads_out_of_the_root() {
    let host = Host::start();
    let copy = host.copy("copy", URL);
    succeeds(host.git(&host.path(""), &["init", "--quiet", "--bare", "secret.git"]));
    fs::create_dir(host.path("root/acct_7")).unwrap();
    symlink(host.path("secret.git"), host.repository()).unwrap();
    for arguments in [["push", "origin", "main"], ["fetch", "origin", "main"]] {
        let message = fails(host.git(copy.path(), &arguments));
        assert!(message.contains("pushkeys: this host cannot serve git at the moment"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    fs::remove_file(host.repository()).unwrap();
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
}

#[test]
fn without_settings_git_is_refused_and_the_greeting_works() {
    let host = Host::start();
    fs::remove_file(host.path("shell.toml")).unwrap();
    let refused = run(host.shell("git-upload-pack 'app'"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("pushkeys: git is not set up on this host\nyou are known"));
    assert!(!text(&refused.stderr).contains("shell.toml"));
    let greeted = run(host.shell(""));
    assert!(greeted.status.success() && text(&greeted.stdout).starts_with("Hello ana"), "{greeted:?}");
}

fn host_that_asks(script: &str) -> Host {
    let host = Host::start();
    let program = host.write("ask", &format!("#!/bin/sh\n{script}\n"));
    host.set(&format!("authorize = \"{}\"\ncreate = \"first-push\"", program.display()));
    host
}

#[test]
fn the_operators_program_decides() {
    let host = host_that_asks(
        "[ \"$4\" = read ] || [ \"$1\" = acct_7 ] || { echo \"$1 may only read\" >&2; exit 1; }; echo shared/$3.git",
    );
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(host.path("root/shared/app.git/HEAD").exists());
    succeeds(host.git_of("ben", copy.path(), &["ls-remote", "origin"]));
    let message = fails(host.git_of("ben", copy.path(), &["push", "origin", "main:ben"]));
    assert!(message.contains("pushkeys: ben may not push to `app`\n  acct_8 may only read\n"), "{message}");
}

#[test]
fn a_push_is_refused_when_the_operators_program_fails() {
    let undecided =
        "pushkeys: this host cannot find out at the moment whether you may push to `app`\nyou are known";
    let unserved = "pushkeys: this host cannot serve git at the moment\nyou are known";
    for (script, expected) in [
        ("exit 2", undecided),
        ("exit 0", undecided),
        ("kill -9 $$", undecided),
        ("echo /etc", unserved),
        ("echo ../app.git", unserved),
    ] {
        let refused = run(host_that_asks(script).shell("git-receive-pack 'app'"));
        assert_eq!(refused.status.code(), Some(1), "{script}");
        assert!(text(&refused.stderr).starts_with(expected), "{script}: {}", text(&refused.stderr));
    }
}

#[test]
fn objects_are_checked_if_configured() {
    let broken = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nno author\n";
    for (settings, is_accepted) in
        [("create = \"first-push\"", true), ("create = \"first-push\"\nfsck = true", false)]
    {
        let host = Host::with_settings(settings);
        let copy = host.copy("copy", URL);
        succeeds(host.git(copy.path(), &["push", "origin", "main"]));
        fs::write(host.path("commit"), broken).unwrap();
        succeeds(host.git(copy.path(), &["hash-object", "-t", "tree", "-w", "/dev/null"]));
        let file = host.path("commit");
        let words = ["hash-object", "-t", "commit", "-w", "--literally", file.to_str().unwrap()];
        let commit = text(&run(host.git(copy.path(), &words)).stdout);
        let pushed = run(host.git(copy.path(), &["push", "origin", &format!("{commit}:refs/heads/broken")]));
        assert_eq!(pushed.status.success(), is_accepted, "{settings}: {}", text(&pushed.stderr));
    }
}
