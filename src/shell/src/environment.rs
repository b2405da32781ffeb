//! The environment of what a session starts, built from nothing.
//!
//! Nothing of what sshd gave to this process is passed on, but for a valid protocol version of the client's.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Command;

use crate::push::Push;
use crate::settings::Settings;

/// Where git and what an operator's program calls are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// No configuration of git's is at home here.
const HOME: &str = "/nonexistent";

/// Push options, which git itself gives to its hooks (githooks(5)).
const PUSH_OPTIONS: &[u8] = b"GIT_PUSH_OPTION_";
/// git that finds itself in a folder that looks like a bare repository, such as a pushed one, does not believe it.
fn bare_explicit() -> (&'static str, OsString) {
    ("safe.bareRepository", "explicit".into())
}

/// The longest list of protocol parameters: git's own clients send one.
const PROTOCOL_BYTES_MAX: usize = 64;

/// Gives `command` an environment in which nothing of this process's is left.
pub(crate) fn clear(command: &mut Command) {
    command.env_clear().env("PATH", PATH).env("HOME", HOME);
}

/// Gives `process` the environment of git for `push`, whose client asked for `protocol`.
pub(crate) fn set_for_git(
    process: &mut Command,
    settings: &Settings,
    hooks: &Path,
    push: &Push,
    protocol: Option<&OsStr>,
) {
    clear(process);
    push.set(process);
    if let Some(protocol) = protocol.filter(|protocol| is_protocol(protocol)) {
        process.env("GIT_PROTOCOL", protocol);
    }
    if let Some(bytes) = settings.limits.memory_bytes {
        // git says which allocation goes too far; the kernel bounds all of them together.
        process.env("GIT_ALLOC_LIMIT", bytes.to_string());
    }
    configure(process, &configuration(settings, hooks));
}

/// Gives `program`, one of the operator's that is started in the repository of `push`, its environment.
pub(crate) fn set_for_program(program: &mut Command, push: &Push) -> io::Result<()> {
    let repository = env::current_dir()?;
    clear(program);
    push.set(program);
    // With `GIT_DIR` relative, git that is started in a folder of pushed files would take it for one of theirs.
    program.env("GIT_DIR", &repository);
    for (name, value) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(PUSH_OPTIONS) {
            program.env(name, value);
        }
    }
    configure(program, &[("safe.directory", repository.into_os_string()), bare_explicit()]);
    Ok(())
}

/// Settings of git's own, which count before those of `/etc/gitconfig` and of the repository.
fn configuration(settings: &Settings, hooks: &Path) -> Vec<(&'static str, OsString)> {
    let mut pairs: Vec<(&str, OsString)> = vec![
        // Whose repository it is was decided by path; who owns the files does not matter any more.
        ("safe.directory", "*".into()),
        bare_explicit(),
        ("core.hooksPath", hooks.as_os_str().to_owned()),
        ("uploadpack.allowFilter", "true".into()),
        // A partial clone fetches what it lacks by id. Protocol 2 serves every object of the repository, advertised or not;
        // clients that cannot send GIT_PROTOCOL (plink, dropbear, many graphical ones) speak protocol 0, and get the same.
        ("uploadpack.allowAnySHA1InWant", "true".into()),
        // References that change what objects others see.
        ("receive.hideRefs", "refs/replace/".into()),
        // A pack keeps its size on the disk. Unpacked, its objects may take many times as much, each up to the limit of
        // memory, so only the smallest are: of two that come at the same moment with the same pack, git refuses one.
        ("receive.unpackLimit", "10".into()),
        // Housekeeping after a push stays in the session, so that nothing outlives it.
        ("gc.autoDetach", "false".into()),
        ("maintenance.autoDetach", "false".into()),
    ];
    if settings.fsck {
        pairs.push(("receive.fsckObjects", "true".into()));
    }
    if settings.push_options {
        pairs.push(("receive.advertisePushOptions", "true".into()));
    }
    if let Some(bytes) = settings.limits.push_bytes {
        pairs.push(("receive.maxInputSize", bytes.to_string().into()));
    }
    if let Some(bytes) = settings.limits.memory_bytes {
        pairs.extend(memory_configuration(bytes));
    }
    pairs
}

/// Divides `bytes` of memory among what git keeps in it. Larger files are streamed, and are stored whole.
fn memory_configuration(bytes: u64) -> [(&'static str, OsString); 5] {
    let share = |of: u64| OsString::from((bytes / of).to_string());
    [
        ("core.bigFileThreshold", share(8)),
        ("core.deltaBaseCacheLimit", share(16)),
        ("pack.deltaCacheSize", share(8)),
        ("pack.windowMemory", share(8)),
        // Each thread has a window of its own.
        ("pack.threads", "2".into()),
    ]
}

fn configure(process: &mut Command, pairs: &[(&str, OsString)]) {
    process.env("GIT_CONFIG_COUNT", pairs.len().to_string());
    for (number, (key, value)) in pairs.iter().enumerate() {
        process.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// Whether `text` is `version=N`, once or several times with colons between (git(1), `GIT_PROTOCOL`).
fn is_protocol(text: &OsStr) -> bool {
    let Some(text) = text.to_str().filter(|text| text.len() <= PROTOCOL_BYTES_MAX) else { return false };
    text.split(':').all(|parameter| {
        let version = parameter.strip_prefix("version=").map(str::as_bytes);
        matches!(version, Some([digit]) if digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_protocol_version_passes() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_protocol(OsStr::new(text)), expected, "{text:?}");
        };
        check("version=2", true);
        check("version=1:version=2", true);
        for text in [
            "",
            "version=",
            "version=22",
            "version=a",
            "version=2:",
            "Version=2",
            "version=2\n",
            "version=2 ",
            "x:version=2",
            "$(id)",
        ] {
            check(text, false);
        }
        check(&["version=2"; 7].join(":"), false);
        assert!(!is_protocol(std::os::unix::ffi::OsStrExt::from_bytes(b"version=\xff")));
    }
}
