//! Git LFS with the real client: a token for a server, a program over ssh, or a refusal.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use crate::world::{Host, WorkingCopy, fails, run, succeeds, text};

const URL: &str = "ssh://git@host/app.git";
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn host_with(lfs: &str) -> Host {
    let host = Host::start();
    fs::write(host.path("lfs.key"), KEY).unwrap();
    fs::set_permissions(host.path("lfs.key"), Permissions::from_mode(0o640)).unwrap();
    set(&host, lfs);
    host
}

fn set(host: &Host, lfs: &str) {
    let key = host.path("lfs.key");
    host.set(&format!("create = \"first-push\"\n{}", lfs.replace("KEY", key.to_str().unwrap())));
}

/// A working copy with a file in Git LFS.
fn copy_with_large_file(host: &Host) -> WorkingCopy {
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["lfs", "install", "--local"]));
    succeeds(host.git(copy.path(), &["lfs", "track", "*.bin"]));
    copy.commits(host, "large.bin", "a large file");
    copy
}

#[track_caller]
fn asks(host: &Host, command: &str) -> Output {
    run(host.shell(command))
}

#[test]
fn without_a_server_and_a_program_lfs_is_refused_with_a_hint() {
    let host = host_with("");
    let copy = copy_with_large_file(&host);
    let message = fails(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(message.contains("pushkeys: this host stores no files of Git LFS\n"), "{message}");
    assert!(
        message.contains("you are known here as ana (acct_7)") && message.contains("hint: set `lfs.url`"),
        "{message}"
    );
    assert!(!message.contains("no shell") && !host.repository().exists(), "{message}");
}

#[test]
fn a_client_gets_the_servers_url_and_a_token() {
    let lfs = "[lfs]\nurl = \"https://lfs.example.com/{path}/info/lfs\"\nkey_file = \"KEY\"\nlifetime_s = 60";
    let host = host_with(lfs);
    let answer = asks(&host, "git-lfs-authenticate /app.git upload");
    assert!(answer.status.success(), "{answer:?}");
    let answer = text(&answer.stdout);
    let begin = "{\"href\":\"https://lfs.example.com/acct_7/app.git/info/lfs\",\"header\":{\"Authorization\":\"Bearer eyJ";
    assert!(answer.starts_with(begin), "{answer}");
    assert!(answer.contains("\"},\"expires_in\":60,\"expires_at\":\"20"), "{answer}");
    assert!(!host.repository().exists(), "a push creates it");

    let refused = asks(&host, "git-lfs-authenticate app download");
    assert!(text(&refused.stderr).contains("ana has no repository `app`"), "{refused:?}");
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(asks(&host, "git-lfs-authenticate app download").status.success());
    let refused = asks(&host, "git-lfs-transfer app download");
    assert!(text(&refused.stderr).contains("over HTTP only"), "{refused:?}");

    fs::set_permissions(host.path("lfs.key"), Permissions::from_mode(0o644)).unwrap();
    let refused = asks(&host, "git-lfs-authenticate app download");
    assert!(
        text(&refused.stderr).starts_with("pushkeys: this host cannot serve git at the moment"),
        "{refused:?}"
    );
    assert!(!text(&refused.stderr).contains("lfs.key") && refused.stdout.is_empty(), "{refused:?}");
    host.set("[lfs]\nprogram = \"/bin/true\"");
    let refused = asks(&host, "git-lfs-authenticate app download");
    assert!(text(&refused.stderr).contains("over ssh only\n"), "{refused:?}");
}

#[test]
fn the_operators_program_decides_about_lfs_files() {
    let host = host_with("");
    host.write(
        "ask",
        "#!/bin/sh\n[ \"$4\" = read ] || { echo read only >&2; exit 1; }; echo shared/$3.git\n",
    );
    succeeds(host.git(&host.path("root"), &["init", "--quiet", "--bare", "shared/app.git"]));
    let settings = "authorize = \"ASK\"\n[lfs]\nurl = \"https://lfs.example.com/{path}\"\nkey_file = \"KEY\"\nprogram = \"/bin/pwd\"";
    let settings = settings.replace("ASK", host.path("ask").to_str().unwrap());
    host.set(&settings.replace("KEY", host.path("lfs.key").to_str().unwrap()));
    for program in ["git-lfs-authenticate", "git-lfs-transfer"] {
        let allowed = asks(&host, &format!("{program} app download"));
        assert!(allowed.status.success() && text(&allowed.stdout).contains("shared/app.git"), "{allowed:?}");
        let refused = asks(&host, &format!("{program} app upload"));
        assert!(text(&refused.stderr).contains("ana may not push to `app`\n  read only\n"), "{refused:?}");
    }
}

#[test]
fn a_program_transfers_lfs_files_over_ssh() {
    let host = host_with("");
    let program = host.write("transfer", "#!/bin/sh\necho \"$* in $PWD as $PUSHKEYS_ACCOUNT with $(env | wc -l)\"; mkdir -p lfs; cat >lfs/file\n");
    set(&host, &format!("[lfs]\nprogram = \"{}\"", program.display()));
    let moved = asks(&host, "git-lfs-transfer '/app.git' 'upload'");
    let said = text(&moved.stdout);
    assert!(moved.status.success(), "{moved:?}");
    assert!(
        said.starts_with(&format!(". upload in {} as acct_7 with ", host.repository().display())),
        "{said}"
    );
    // The files wait for the push that refers to them.
    assert!(host.repository().join("lfs/file").exists());
    let refused = asks(&host, "git-lfs-transfer app download");
    assert!(text(&refused.stderr).contains("ana has no repository `app`"), "{refused:?}");
    let copy = host.copy("copy", URL);
    succeeds(host.git(copy.path(), &["push", "origin", "main"]));
    assert!(asks(&host, "git-lfs-transfer app download").status.success());
}

#[test]
fn lfs_files_count_towards_the_repositorys_size() {
    let host = host_with("");
    let program =
        host.write("transfer", "#!/bin/sh\nmkdir lfs; head -c 3M /dev/zero >lfs/file; exec sleep 1000\n");
    set(&host, &format!("[limits]\nrepository_mib = 2\n[lfs]\nprogram = \"{}\"", program.display()));
    let refused = asks(&host, "git-lfs-transfer app upload");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let expected = "pushkeys: this session ends: the repository would take more than the 2 MiB that one repository may take";
    assert!(text(&refused.stderr).contains(expected), "{refused:?}");
}
