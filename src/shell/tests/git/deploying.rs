//! The operator's program after a push, and the example that is shipped.

use std::fs;
use std::path::Path;

use crate::world::{Host, revision, run, succeeds, text};

const URL: &str = "git@host:app.git";

fn packaging(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)).unwrap()
}

fn host_that_deploys(program: &str) -> Host {
    let host = Host::start();
    let program = host.write("deploy", program);
    let hook = host.write("hooks/post-receive", &packaging("hooks/post-receive"));
    let settings = format!(
        "root = \"{}\"\ncreate = \"first-push\"\n[deploy]\nprogram = \"{}\"\nhooks = \"{}\"\n",
        host.path("root").display(),
        program.display(),
        hook.parent().unwrap().display()
    );
    host.write("shell.toml", &settings);
    host
}

#[test]
fn the_program_is_told_who_pushed_what_and_its_output_goes_to_the_pusher() {
    let host = host_that_deploys("#!/bin/sh\nsed 's/^/got /'; pwd | sed 's,.*/root/,in ,'\n");
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main", "main:next"]));
    let none = "0".repeat(40);
    for line in [
        "got {\"account\":\"acct_7\",\"account_name\":\"ana\",\"key_id\":\"key_42\",\"key_name\":\"my \\\"work\\\" laptop\",",
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
fn a_program_that_fails_is_told_and_the_push_is_kept() {
    let host = host_that_deploys("#!/bin/sh\necho no disk >&2; exit 3\n");
    let copy = host.copy("copy", URL);
    let said = succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(said.contains("remote: no disk"), "{said}");
    assert!(said.contains("remote: pushkeys: your push is stored, and was not deployed: "), "{said}");
    assert!(said.contains("ended with status 3"), "{said}");
    assert_eq!(revision(&host, &host.repository(), "main"), copy.head(&host));
}

#[test]
fn a_program_that_is_not_there_refuses_the_push_instead_of_not_deploying() {
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
fn the_example_publishes_a_static_site() {
    let host = host_that_deploys("");
    let sites = host.path("sites");
    let example =
        packaging("examples/deploy-static-site").replace("${SITES:-/srv/sites}", sites.to_str().unwrap());
    host.write("deploy", &example);
    let copy = host.copy("copy", URL);
    copy.commits(&host, "_header.html", "<h1>ana</h1>\n");
    copy.commits(&host, "style.css", "p {}\n");
    std::os::unix::fs::symlink("/etc/passwd", copy.path().join("passwd")).unwrap();
    copy.commits(&host, "with space.txt", "text\n");
    let push = || succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    let said = push();
    assert!(said.contains("remote: deploy: published 3 files at "), "{said}");
    let published = |file: &str| fs::read_to_string(sites.join("acct_7/app").join(file));
    assert_eq!(published("index.html").unwrap(), "<h1>ana</h1>\n<p>hello</p>\n");
    assert_eq!(published("style.css").unwrap(), "p {}\n");
    assert!(published("passwd").is_err() && published("_header.html").is_err());

    copy.commits(&host, "index.html", "<p>again</p>\n");
    push();
    assert_eq!(published("index.html").unwrap(), "<h1>ana</h1>\n<p>again</p>\n");
    assert_eq!(
        fs::read_dir(sites.join("acct_7")).unwrap().count(),
        2,
        "the site and its link, and no older one"
    );

    fs::remove_file(copy.path().join("index.html")).unwrap();
    copy.commits(&host, "more", "");
    let said = push();
    assert!(said.contains("remote: deploy: there is no index.html"), "{said}");
    assert_eq!(published("index.html").unwrap(), "<h1>ana</h1>\n<p>again</p>\n", "the last good one stays");
}
