//! What a push is, for its hooks: the variables by which a session tells them, and how they answer it.

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
/// Between this program and its hooks.
const SHELL: &str = "PUSHKEYS_SHELL";
const CONFIG: &str = "PUSHKEYS_CONFIG";
const CACHE: &str = "PUSHKEYS_CACHE";
const RESULT: &str = "PUSHKEYS_RESULT";
const INTERNAL: [&str; 4] = [SHELL, CONFIG, CACHE, RESULT];

/// The longest result in bytes: a few words.
const RESULT_BYTES_MAX: u64 = 1024;

/// Which repository a session is about, and where this program's own files are.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) identity: Identity,
    pub(crate) repository: RepositoryName,
    /// The repository's path below the root.
    pub(crate) path: PathBuf,
    /// The repository's URL as far as this host knows it.
    pub(crate) url: String,
    /// The file of settings.
    pub(crate) config: PathBuf,
    pub(crate) cache: PathBuf,
}

/// What hooks tell the session that started git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookResult {
    /// The push goes beyond a limit.
    Refused,
    /// References have changed.
    Stored,
    /// The operator's program has failed.
    DeployFailed,
}

/// Where hooks put their results: memory that processes share by descriptor.
#[derive(Debug)]
pub(crate) struct Results(File);

impl Push {
    /// Gives `process` what hooks and the operator's programs may know.
    pub(crate) fn set(&self, process: &mut Command) {
        self.identity.set(process);
        process.env(REPOSITORY, self.repository.as_str()).env(PATH, &self.path).env(URL, &self.url);
    }

    /// Gives `process`, which is git, what its hooks need besides.
    pub(crate) fn set_for_hooks(&self, process: &mut Command, results: &Results) -> io::Result<()> {
        process
            .env(SHELL, env::current_exe()?)
            .env(CONFIG, &self.config)
            .env(CACHE, &self.cache)
            .env(RESULT, results.0.as_raw_fd().to_string());
        Ok(())
    }

    /// Who pushes to what, in one line of JSON: the first line of the operator's program's input.
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

    /// Takes from `process` what is between this program and its hooks.
    pub(crate) fn hide_internals(process: &mut Command) {
        for variable in INTERNAL {
            process.env_remove(variable);
        }
    }

    /// The push that this process is a hook of.
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

    /// Tells the session that started git.
    pub(crate) fn tell(self) -> io::Result<()> {
        let descriptor: u32 = required(RESULT).map_err(io::Error::other)?;
        let mut file = File::options().append(true).open(format!("/proc/self/fd/{descriptor}"))?;
        file.write_all(format!("{}\n", self.word()).as_bytes())
    }
}

impl Results {
    /// An empty place for results, which processes inherit.
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor: OwnedFd = memfd_create("results", MemfdFlags::empty())?;
        Ok(Self(descriptor.into()))
    }

    /// What hooks have told.
    pub(crate) fn read(mut self) -> Vec<HookResult> {
        let mut text = String::new();
        let read = self.0.rewind().and_then(|()| self.0.take(RESULT_BYTES_MAX).read_to_string(&mut text));
        let words = if read.is_ok() { text.lines() } else { "".lines() };
        words.filter_map(|word| HookResult::ALL.into_iter().find(|result| result.word() == word)).collect()
    }
}
