//! Errors of checks, reads and writes, with hints.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pushkeys_keys::Hint;
use rustix::io::Errno;
use thiserror::Error;

/// A file that is not trusted.
#[derive(Debug, Error)]
#[error("`{}` {why}", path.display())]
pub struct Untrusted {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it is not trusted.
    pub why: Distrust,
    /// The command that fixes it, if there is one.
    #[source]
    pub hint: Option<Hint>,
}

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// A folder, a pipe or a device.
    NotAFile,
    /// Its owner is not the expected one.
    Owner {
        /// The uid of its owner.
        owner: u32,
        /// The allowed owner.
        expected: Owner,
    },
    /// Group or others may write to it.
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// It holds a secret, and others have access to it.
    Open {
        /// Its permission bits.
        mode: u32,
    },
    /// It is private, and group or others have access to it.
    Shared {
        /// Its permission bits.
        mode: u32,
    },
    /// No user may execute it.
    NotExecutable,
}

/// The allowed owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Any user.
    Any,
    /// Root.
    Root,
    /// Root, or the user of this process.
    RootOrSelf,
    /// A user, by uid.
    User(u32),
}

impl fmt::Display for Distrust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile => out.write_str("is not a regular file"),
            Self::Owner { owner, expected: Owner::RootOrSelf } => {
                write!(out, "belongs to user {owner}, who is neither root nor the user of this process")
            }
            Self::Owner { owner, expected: Owner::User(expected) } => {
                write!(out, "belongs to user {owner}, not to user {expected}")
            }
            Self::Owner { owner, expected: Owner::Root | Owner::Any } => {
                write!(out, "belongs to user {owner}, not to root")
            }
            Self::Writable { mode } => write!(out, "is writable by group or others (mode {mode:04o})"),
            Self::Open { mode } => write!(out, "is accessible to all users (mode {mode:04o})"),
            Self::Shared { mode } => write!(out, "is accessible to group or others (mode {mode:04o})"),
            Self::NotExecutable => out.write_str("is not executable"),
        }
    }
}

impl Untrusted {
    pub(crate) fn new(path: &Path, why: Distrust) -> Self {
        let change = match why {
            Distrust::NotAFile => None,
            Distrust::Owner { expected: Owner::User(user), .. } => Some(Cow::Owned(format!("chown {user}"))),
            Distrust::Owner { .. } => Some(Cow::Borrowed("chown root")),
            Distrust::Writable { .. } => Some(Cow::Borrowed("chmod go-w")),
            Distrust::Open { .. } => Some(Cow::Borrowed("chmod o-rwx")),
            Distrust::Shared { .. } => Some(Cow::Borrowed("chmod go-rwx")),
            Distrust::NotExecutable => Some(Cow::Borrowed("chmod a+x")),
        };
        let shown = path.to_string_lossy();
        let command = |change: Cow<'static, str>| format!("{change} {}", pushkeys_keys::shell_word(&shown));
        Self { path: path.to_owned(), why, hint: change.map(command).map(Hint::new) }
    }
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum ReadFileError {
    /// A system call failed.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file or folder that was opened or read.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// See [`Untrusted`].
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It is longer than the limit.
    #[error("`{}` is longer than {bytes_max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: usize,
    },
    /// It is not valid UTF-8.
    #[error("`{}` is not text in UTF-8", .0.display())]
    NotText(PathBuf),
}

impl ReadFileError {
    pub(crate) fn io(path: impl AsRef<Path>, source: Errno) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Why a file could not be written. The previous file is unchanged.
#[derive(Debug, Error)]
#[error("cannot {what} `{}`", path.display())]
pub struct WriteFileError {
    /// The operation that failed, as a verb.
    pub what: &'static str,
    /// The file or folder it failed on.
    pub path: PathBuf,
    /// The error of the system call.
    pub source: io::Error,
}

impl WriteFileError {
    pub(crate) fn new(what: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self { what, path: path.as_ref().to_owned(), source: source.into() }
    }
}
