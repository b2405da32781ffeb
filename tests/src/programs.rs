//! The programs of this build, and how to run them as another user.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// A program of this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `pushkeys-lookup`, static.
    Lookup,
    /// `pushkeys-shell`, static.
    Shell,
    /// `pushkeys-syncd`.
    Syncd,
    /// `pushkeys-server`.
    Server,
    /// `pushkeys`.
    Cli,
}

impl Program {
    /// The name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lookup => "pushkeys-lookup",
            Self::Shell => "pushkeys-shell",
            Self::Syncd => "pushkeys-syncd",
            Self::Server => "pushkeys-server",
            Self::Cli => "pushkeys",
        }
    }

    /// The programs that sshd starts are built separately, statically, for an explicit target.
    fn is_static(self) -> bool {
        matches!(self, Self::Lookup | Self::Shell)
    }
}

/// The path of `program`, built with the profile of the running executable.
#[must_use]
pub fn program(program: Program) -> PathBuf {
    let profile = profile_directory();
    let path = if program.is_static() {
        let name = profile.file_name().expect("target/PROFILE");
        // Benchmarks measure the programs as packages ship them.
        let name = if name == "release" { OsStr::new("dist") } else { name };
        target_directory(&profile).join(name).join(program.name())
    } else {
        profile.join(program.name())
    };
    assert!(path.is_file(), "`{}` is not built\nhint: make build", path.display());
    path
}

/// `target/debug` for `target/debug/deps/contract-0123` and for `target/debug/demo`.
fn profile_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the running executable");
    let directory = executable.parent().expect("a file is in a directory");
    let is_deps = directory.file_name() == Some(OsStr::new("deps"));
    let profile = if is_deps { directory.parent().expect("target/PROFILE/deps") } else { directory };
    profile.to_owned()
}

/// A short name of this build's folder, which differs from that of another clone.
pub(crate) fn target_name() -> String {
    let digest = Sha256::digest(profile_directory().as_os_str().as_encoded_bytes());
    digest.iter().take(4).fold(String::new(), |name, byte| format!("{name}{byte:02x}"))
}

/// `target`, which all profiles share.
pub(crate) fn build_directory() -> PathBuf {
    profile_directory().parent().expect("target/PROFILE").to_owned()
}

fn target_directory(profile: &Path) -> PathBuf {
    profile.parent().expect("target/PROFILE").join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
}

/// A command that runs as `user` with that user's groups, as a service manager or sshd would start it, and with only PATH
/// in its environment. It dies with the thread that starts it.
#[must_use]
pub fn as_user(user: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--regid", user, "--init-groups", "--pdeathsig", "KILL", "--"])
        .arg(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    command
}

/// The clock of a program. Debian's libfaketime changes it.
#[derive(Debug, Clone, Copy)]
pub enum Clock<'a> {
    /// An offset such as `-25h`.
    Off(&'a str),
    /// The offset in a file, which is read each time; `+0d` is none.
    AsIn(&'a Path),
}

/// The arguments of `env` for a program with such a clock.
pub(crate) fn environment_of(clock: Clock<'_>) -> Vec<String> {
    // The loader replaces `$LIB` by the architecture's folder.
    let library = "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1".to_owned();
    let mut environment = vec![library, "DONT_FAKE_MONOTONIC=1".to_owned()];
    match clock {
        Clock::Off(offset) => environment.push(format!("FAKETIME={offset}")),
        Clock::AsIn(file) => {
            environment.push(format!("FAKETIME_TIMESTAMP_FILE={}", file.display()));
            environment.push("FAKETIME_NO_CACHE=1".to_owned());
        }
    }
    environment
}
