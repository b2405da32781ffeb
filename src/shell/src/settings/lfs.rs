//! The settings of Git LFS.

use std::path::PathBuf;

use serde::Deserialize;

/// The placeholder for the repository's path below the root in the server's URL.
const PATH: &str = "{path}";
const LIFETIME_S: u32 = 1_800;
const LIFETIME_S_MAX: u32 = 24 * 3600;

/// The table `[lfs]`: an HTTP server, a program for transfers over ssh, or both.
#[derive(Debug)]
pub(crate) struct Lfs {
    pub(crate) server: Option<LfsServer>,
    /// A program that is started as `PROGRAM PATH upload|download` (git-lfs-transfer).
    pub(crate) program: Option<PathBuf>,
}

/// An HTTP server of Git LFS.
#[derive(Debug)]
pub(crate) struct LfsServer {
    url: String,
    /// The file of the key that signs tokens, which the server shares.
    pub(crate) key_file: PathBuf,
    /// The lifetime of a token in seconds.
    pub(crate) lifetime_s: u32,
}

/// The table as it is parsed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenLfs {
    url: Option<String>,
    key_file: Option<PathBuf>,
    lifetime_s: Option<u32>,
    program: Option<PathBuf>,
}

impl WrittenLfs {
    pub(super) fn resolve(self) -> Result<Lfs, &'static str> {
        let Self { url, key_file, lifetime_s, program } = self;
        let server = match (url, key_file, lifetime_s) {
            (Some(url), Some(key_file), lifetime_s) => Some(LfsServer::new(url, key_file, lifetime_s)?),
            (None, None, None) => None,
            _ => return Err("`lfs.url` and `lfs.key_file` belong together, and `lfs.lifetime_s` to them"),
        };
        if server.is_none() && program.is_none() {
            return Err("`[lfs]` names a server (`url`, `key_file`), a program (`program`), or both");
        }
        if program.as_ref().is_some_and(|program| !program.is_absolute()) {
            return Err("`lfs.program` is an absolute path");
        }
        Ok(Lfs { server, program })
    }
}

impl LfsServer {
    fn new(url: String, key_file: PathBuf, lifetime_s: Option<u32>) -> Result<Self, &'static str> {
        let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        let is_safe = url.starts_with("https://") || matches!(host, Some("127.0.0.1" | "localhost"));
        if !is_safe || url.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err("`lfs.url` begins with https://, since a token goes there");
        }
        if url.matches(PATH).count() != 1 || url.replace(PATH, "").contains(['{', '}']) {
            return Err("`lfs.url` contains `{path}` once");
        }
        if !key_file.is_absolute() {
            return Err("`lfs.key_file` is an absolute path");
        }
        match lifetime_s.unwrap_or(LIFETIME_S) {
            lifetime_s @ 1..=LIFETIME_S_MAX => Ok(Self { url, key_file, lifetime_s }),
            _ => Err("`lfs.lifetime_s` is from 1 to 86400"),
        }
    }

    /// The URL for the repository at `path` below the root.
    pub(crate) fn url(&self, path: &str) -> String {
        self.url.replace(PATH, path)
    }
}
