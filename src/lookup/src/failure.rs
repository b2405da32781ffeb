//! Why sshd gets no answer, and the exit status that says so.

use std::borrow::Cow;
use std::ffi::c_int;
use std::fmt;
use std::io;

use pushkeys_cache::{NoAnswer, ReadError};
use pushkeys_keys::Fingerprint;

/// Why sshd gets no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Misuse(Cow<'static, str>),
    NoAnswer { asked: Option<Fingerprint>, why: NoAnswer },
    Write(io::Error),
}

impl Failure {
    /// The exit status: see the table at the top of the program.
    pub(crate) fn status(&self) -> c_int {
        match self {
            Self::Misuse(_) => 2,
            Self::NoAnswer { why: NoAnswer::Unreadable(error), .. } => match error {
                ReadError::Missing(_) => 3,
                ReadError::Io { .. } | ReadError::Raced(_) => 4,
                ReadError::Unsafe(_) => 5,
                ReadError::Damaged { .. } => 6,
            },
            Self::NoAnswer { why: NoAnswer::Stale { .. }, .. } => 7,
            Self::NoAnswer { why: NoAnswer::Conflict { .. }, .. } => 8,
            Self::Write(_) => 9,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(what) => write!(
                out,
                "cannot read the command line: {what}; hint: AuthorizedKeysCommand ends in `%u %f`"
            ),
            Self::NoAnswer { asked: Some(fingerprint), .. } => {
                write!(out, "cannot answer for the key {fingerprint}; hint: pushkeys status")
            }
            Self::NoAnswer { asked: None, .. } => write!(out, "cannot list the keys; hint: pushkeys status"),
            Self::Write(_) => write!(out, "cannot write the answer"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Misuse(_) => None,
            Self::NoAnswer { why, .. } => Some(why),
            Self::Write(error) => Some(error),
        }
    }
}
