//! `bench ls-remote`: the overhead of pushkeys-shell for a git client.

use std::process::Command;
use std::time::Instant;

use clap::Args;
use pushkeys_tests::run as run_to_its_end;
use pushkeys_tests::{HostFiles, Key, Login, PushHost, Room, Service, Sshd, SshdSettings};

use crate::report::{Report, Samples, ratio};

const RATIO_MAX: f64 = 1.1;
const WARM_UP_RUNS: usize = 5;
/// The number of branches of a typical repository.
const BRANCHES: usize = 50;

#[derive(Args)]
#[command(after_help = "\
Stock git lists the refs of one repository, in turn: through pushkeys-lookup and pushkeys-shell, and through an sshd of the
same settings whose authorized_keys has one line that starts git-shell.")]
pub(crate) struct Arguments {
    /// Listings of each
    #[arg(long, default_value_t = 300)]
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service, files) = (Room::root_owned(), Service::start(), HostFiles::install());
    let source = files.source_with_git(&service, "");
    let host = PushHost::assemble(files, &source, |_| {});
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);

    let line = format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {}\n", key.text());
    let mut settings = SshdSettings::new("/nonexistent");
    settings.authorized_keys_file =
        room.write_with_mode("authorized_keys", &line, 0o644).display().to_string();
    let plain = Sshd::start(&settings);

    push_branches(&room, &host, &key);
    let repository = host.files().repositories().join(ana.id()).join("app.git").display().to_string();
    let sides = [(&plain, repository.as_str()), (&host.sshd, "app.git")];
    let mut samples = [Samples::default(), Samples::default()];
    for number in 0..WARM_UP_RUNS + arguments.runs {
        for ((sshd, path), samples) in sides.iter().zip(&mut samples) {
            let mut listing = git(&room, sshd, &key, &["ls-remote", &format!("git@127.0.0.1:{path}")]);
            let start = Instant::now();
            let listed = run_to_its_end(&mut listing).output();
            if number >= WARM_UP_RUNS {
                samples.push(start.elapsed());
            }
            assert_eq!(listed.matches("refs/heads/branch-").count(), BRANCHES, "{listed}");
        }
    }
    let [with_git_shell, through_pushkeys] = samples;
    report.times("git ls-remote, behind git-shell", &with_git_shell, &with_git_shell);
    report.times("git ls-remote, through pushkeys-shell", &through_pushkeys, &with_git_shell);
    let cost = ratio(through_pushkeys.median(), with_git_shell.median());
    report.at_most("git ls-remote, against git-shell", cost, RATIO_MAX, "x");
}

fn push_branches(room: &Room, host: &PushHost, key: &Key) {
    let git = |arguments: &[&str]| run_to_its_end(&mut git(room, &host.sshd, key, arguments)).output();
    let _ = git(&["init", "--quiet", "--initial-branch=main", "copy"]);
    let author = ["-C", "copy", "-c", "user.name=ana", "-c", "user.email=ana@example.com"];
    let _ = git(&[&author[..], &["commit", "--quiet", "--allow-empty", "--message=first"]].concat());
    let branches: Vec<String> =
        (0..BRANCHES).map(|number| format!("main:refs/heads/branch-{number}")).collect();
    let mut push = vec!["-C", "copy", "push", "--quiet", "git@127.0.0.1:app.git"];
    push.extend(branches.iter().map(String::as_str));
    let _ = git(&push);
}

fn git(room: &Room, sshd: &Sshd, key: &Key, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(room.path()).env("HOME", room.path());
    git.env("GIT_SSH_COMMAND", Login::new(sshd, "git").with_key(key).into_git_ssh_command());
    git.env("GIT_SSH_VARIANT", "ssh");
    git
}
