//! The variables that describe a push to its hooks, and the results that hooks report.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::identity::{Identity, VariableError, required};
use crate::json::Object;
use crate::request::RepositoryName;

/// For hooks and the operator's programs.
const REPOSITORY: &str = "PUSHKEYS_REPOSITORY";
const PATH: &str = "PUSHKEYS_PATH";
const URL: &str = "PUSHKEYS_URL";
/// For this program's own hooks only.
const SHELL: &str = "PUSHKEYS_SHELL";
const CONFIG: &str = "PUSHKEYS_CONFIG";
const CACHE: &str = "PUSHKEYS_CACHE";
const RESULT: &str = "PUSHKEYS_RESULT";
const INTERNAL: [&str; 4] = [SHELL, CONFIG, CACHE, RESULT];

/// The longest text of results in bytes.
const RESULT_BYTES_MAX: u64 = 1024;

/// The repository and identity of a session, and the paths of settings and cache.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) identity: Identity,
    pub(crate) repository: RepositoryName,
    /// The repository's path below the root.
    pub(crate) path: PathBuf,
    /// The repository's URL, as this host knows it.
    pub(crate) url: String,
    /// The file of settings.
    pub(crate) config: PathBuf,
    pub(crate) cache: PathBuf,
}

/// What hooks report to the session that started git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookResult {
    /// The push exceeds a limit.
    Refused,
    /// References were changed.
    Stored,
    /// The operator's program failed.
    DeployFailed,
}

/// Shared memory to which hooks append their results, by file descriptor.
#[derive(Debug)]
pub(crate) struct Results(File);

impl Push {
    /// Sets the variables for hooks and the operator's programs.
    pub(crate) fn set(&self, process: &mut Command) {
        self.identity.set(process);
        process.env(REPOSITORY, self.repository.as_str()).env(PATH, &self.path).env(URL, &self.url);
    }

    /// Sets the additional variables for the hooks of git, `process`.
    pub(crate) fn set_for_hooks(&self, process: &mut Command, results: &Results) -> io::Result<()> {
        process
            .env(SHELL, env::current_exe()?)
            .env(CONFIG, &self.config)
            .env(CACHE, &self.cache)
            .env(RESULT, results.0.as_raw_fd().to_string());
        Ok(())
    }

    /// The push in one line of JSON: the first line of input of the operator's program.
    pub(crate) fn to_json(&self) -> String {
        let Identity { account, account_name, key_id, key_name, fingerprint, address, .. } = &self.identity;
        Object::default()
            .text("account", Some(account.as_str()))
            .text("account_name", account_name.as_deref())
            .text("key_id", Some(key_id.as_str()))
            .text("key_name", key_name.as_deref())
            .text("fingerprint", Some(&fingerprint.to_string()))
            .text("address", address.map(|address| address.to_string()).as_deref())
            .text("repository", Some(self.repository.as_str()))
            .text("path", self.path.to_str())
            .text("url", Some(&self.url))
            .finish()
    }

    /// Removes the variables that are for this program's own hooks only.
    pub(crate) fn hide_internals(process: &mut Command) {
        for variable in INTERNAL {
            process.env_remove(variable);
        }
    }

    /// The push in the environment of a hook.
    pub(crate) fn from_variables() -> Result<Self, VariableError> {
        Ok(Self {
            identity: Identity::from_variables()?,
            repository: required(REPOSITORY)?,
            path: required(PATH)?,
            url: required(URL)?,
            config: required(CONFIG)?,
            cache: required(CACHE)?,
        })
    }
}

impl HookResult {
    const ALL: [Self; 3] = [Self::Refused, Self::Stored, Self::DeployFailed];

    fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Stored => "stored",
            Self::DeployFailed => "deploy-failed",
        }
    }

    /// Reports the result to the session that started git.
    pub(crate) fn report(self) -> io::Result<()> {
        let descriptor: u32 = required(RESULT).map_err(io::Error::other)?;
        let mut file = File::options().append(true).open(format!("/proc/self/fd/{descriptor}"))?;
        file.write_all(format!("{}\n", self.word()).as_bytes())
    }
}

impl Results {
    /// An empty file for results, which child processes inherit.
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor: OwnedFd = memfd_create("results", MemfdFlags::empty())?;
        Ok(Self(descriptor.into()))
    }

    /// The results that hooks reported.
    pub(crate) fn read(mut self) -> Vec<HookResult> {
        let mut text = String::new();
        let read = self.0.rewind().and_then(|()| self.0.take(RESULT_BYTES_MAX).read_to_string(&mut text));
        let words = if read.is_ok() { text.lines() } else { "".lines() };
        words.filter_map(|word| HookResult::ALL.into_iter().find(|result| result.word() == word)).collect()
    }
}
