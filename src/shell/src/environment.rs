//! Builds the environment of the processes that a session starts.
//!
//! Of sshd's environment only a valid `GIT_PROTOCOL` is passed on.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::push::Push;
use crate::settings::Settings;

/// The search path of git and the operator's programs.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Prevents git from reading a user's configuration.
const HOME: &str = "/nonexistent";

/// Push options, which git passes to its hooks (githooks(5)).
const PUSH_OPTIONS: &[u8] = b"GIT_PUSH_OPTION_";
/// Prevents git from using a folder that merely looks like a bare repository, such as a pushed one.
fn bare_explicit() -> (&'static str, OsString) {
    ("safe.bareRepository", "explicit".into())
}

/// The longest list of protocol parameters. git's own clients send one parameter.
const PROTOCOL_BYTES_MAX: usize = 64;

/// Replaces the environment of `command` by a minimal one.
pub(crate) fn clear(command: &mut Command) {
    command.env_clear().env("PATH", PATH).env("HOME", HOME);
}

/// The program `name` as git and the operator's programs would find it.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let paths = PATH.split(':').map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

/// Sets the environment of git for `push`, whose client asked for `protocol`.
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
        // git reports which allocation is too large; the kernel limits their sum.
        process.env("GIT_ALLOC_LIMIT", bytes.to_string());
    }
    configure(process, &configuration(settings, hooks));
}

/// Sets the environment of the operator's `program`, which runs in the repository of `push`.
pub(crate) fn set_for_program(program: &mut Command, push: &Push) -> io::Result<()> {
    let repository = env::current_dir()?;
    clear(program);
    push.set(program);
    // A relative `GIT_DIR` would make git use a folder of pushed files that it is started in.
    program.env("GIT_DIR", &repository);
    for (name, value) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(PUSH_OPTIONS) {
            program.env(name, value);
        }
    }
    configure(program, &[("safe.directory", repository.into_os_string()), bare_explicit()]);
    Ok(())
}

/// git settings, which override `/etc/gitconfig` and the repository's own.
fn configuration(settings: &Settings, hooks: &Path) -> Vec<(&'static str, OsString)> {
    let mut pairs: Vec<(&str, OsString)> = vec![
        // Access was decided by path, so the owner of the files is irrelevant.
        ("safe.directory", "*".into()),
        bare_explicit(),
        ("core.hooksPath", hooks.as_os_str().to_owned()),
        ("uploadpack.allowFilter", "true".into()),
        // A partial clone fetches missing objects by id. Protocol 2 serves every object, advertised or not; clients that
        // cannot send GIT_PROTOCOL (plink, dropbear, many graphical ones) use protocol 0, and get the same.
        ("uploadpack.allowAnySHA1InWant", "true".into()),
        // These references change which objects other users see.
        ("receive.hideRefs", "refs/replace/".into()),
        // A pack keeps its size on disk. Unpacked objects can take many times that, each up to the memory limit, so only the
        // smallest packs are unpacked: git refuses one of two concurrent pushes of the same pack.
        ("receive.unpackLimit", "10".into()),
        // Maintenance after a push runs in the session, so that no process outlives it.
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

/// Divides `bytes` of memory among git's caches. Larger files are streamed, and stored whole.
fn memory_configuration(bytes: u64) -> [(&'static str, OsString); 5] {
    let share = |of: u64| OsString::from((bytes / of).to_string());
    [
        ("core.bigFileThreshold", share(8)),
        ("core.deltaBaseCacheLimit", share(16)),
        ("pack.deltaCacheSize", share(8)),
        ("pack.windowMemory", share(8)),
        // Each thread has its own window.
        ("pack.threads", "2".into()),
    ]
}

fn configure(process: &mut Command, pairs: &[(&str, OsString)]) {
    process.env("GIT_CONFIG_COUNT", pairs.len().to_string());
    for (number, (key, value)) in pairs.iter().enumerate() {
        process.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// Whether `text` is a list of `version=N` separated by colons (git(1), `GIT_PROTOCOL`).
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
