//! A key of each accepted kind, from its registration to a push, with the ssh, sshd and git of one release.

use std::fmt::Write as _;
use std::fs;

use pushkeys_tests::{Agent, SecurityKey, until};

use crate::booted::Booted;
use crate::made::repository;
use crate::root::{Debian, Machine};

/// Each kind with the arguments of `ssh-keygen` for it.
const GENERATED: [(&str, &str); 6] = [
    ("Ed25519", "-t ed25519"),
    ("RSA, 3072 bits", "-t rsa -b 3072"),
    ("RSA, 4096 bits", "-t rsa -b 4096"),
    ("ECDSA, P-256", "-t ecdsa -b 256"),
    ("ECDSA, P-384", "-t ecdsa -b 384"),
    ("ECDSA, P-521", "-t ecdsa -b 521"),
];
/// Supported only by the OpenSSH of Debian 14 and later.
const POST_QUANTUM: (&str, &str) = ("ML-DSA-44 with Ed25519", "-t mldsa44-ed25519");
/// The folder with a file for each release, from which `make releases` prints its table.
const ROWS: &str = "target/packages/releases";

/// Checks that a key of each kind logs in and pushes, and writes a row of the table for each, with doctor's `verdict`.
pub(crate) fn each_logs_in_and_pushes(machine: &Machine, booted: &Booted, debian: Debian, verdict: &str) {
    let openssh = booted.runs("ssh -V 2>&1 | sed 's/,.*//; s/OpenSSH_//'");
    let mut rows = String::new();
    let mut row = |kind: &str, answer: &str| {
        let columns = [debian.suite(), openssh.trim(), kind, answer, answer, verdict].join(" | ");
        writeln!(rows, "| {columns} |").expect("a string");
    };
    booted.runs("runuser -u pushkeys-server -- pushkeys-server account add kinds");
    let newest = (debian == Debian::Forky).then_some(POST_QUANTUM);
    for (number, (kind, arguments)) in (1..).zip(GENERATED.into_iter().chain(newest)) {
        let name = format!("kind-{number}");
        booted.runs(&format!("ssh-keygen -q {arguments} -N '' -C {name} -f /root/{name}"));
        logs_in_and_pushes(booted, &name, &format!("-i /root/{name}"));
        row(kind, "yes");
    }
    if newest.is_none() {
        assert!(!booted.runs("ssh -Q key").contains("mldsa44"), "it is tried if it is supported");
        row(POST_QUANTUM.0, "not in this OpenSSH");
    }
    for (kind, name, token) in [
        ("Ed25519 in a security key", "token-1", SecurityKey::ed25519()),
        ("ECDSA in a security key", "token-2", SecurityKey::ecdsa()),
    ] {
        fs::write(machine.path(&format!("/root/{name}.pub")), format!("{} {name}\n", token.text()))
            .expect("own file");
        let _agent = Agent::start_at(&machine.path(&format!("/root/{name}.agent")), token);
        logs_in_and_pushes(booted, name, &format!("-o IdentityAgent=/root/{name}.agent"));
        row(kind, "yes");
    }
    let folder = repository().join(ROWS);
    fs::create_dir_all(&folder).expect("target/");
    fs::write(folder.join(debian.suite()), rows).expect("own file");
}

/// Registers `/root/NAME.pub`, logs in with ssh's `options`, and pushes to a repository of that name.
#[track_caller]
fn logs_in_and_pushes(booted: &Booted, name: &str, options: &str) {
    booted.runs(&format!(
        "runuser -u pushkeys-server -- pushkeys-server import --authorized-keys-of kinds - </root/{name}.pub"
    ));
    let fingerprint = booted.runs(&format!("ssh-keygen -lf /root/{name}.pub | cut -d' ' -f2"));
    until("the key is in force", || booted.runs("pushkeys list").contains(fingerprint.trim()));
    let ssh = format!("ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new {options}");
    let greeting = booted.runs(&format!("{ssh} -T git@127.0.0.1"));
    assert!(greeting.contains("Hello kinds, your key works"), "{name}: {greeting}");
    booted
        .runs(&format!("cd /root/app; GIT_SSH_COMMAND='{ssh}' git push ssh://git@127.0.0.1/{name}.git main"));
}
