//! Why a lookup has no answer, and its exit status.

use std::borrow::Cow;
use std::ffi::c_int;
use std::io;

use pushkeys_cache::{NoAnswer, ReadError};
use pushkeys_keys::{Fingerprint, Hint};
use thiserror::Error;

/// Why a lookup has no answer.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("cannot read the command line: {what}")]
    Misuse { what: Cow<'static, str>, source: Hint },
    #[error("cannot answer for the key {asked}")]
    NoAnswer { asked: Fingerprint, status: c_int, source: Hint },
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl Failure {
    pub(crate) fn misuse(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Misuse { what: what.into(), source: Hint::new("AuthorizedKeysCommand ends in `%u %f`") }
    }

    pub(crate) fn no_answer(asked: Fingerprint, why: NoAnswer) -> Self {
        Self::NoAnswer { asked, status: status_of(&why), source: Hint::because("pushkeys status", why) }
    }

    /// The exit status: see the table in `main.rs`.
    pub(crate) fn status(&self) -> c_int {
        match self {
            Self::Misuse { .. } => 2,
            Self::NoAnswer { status, .. } => *status,
            Self::Write(_) => 9,
        }
    }
}

fn status_of(why: &NoAnswer) -> c_int {
    match why {
        NoAnswer::Unreadable(ReadError::Missing(_)) => 3,
        NoAnswer::Unreadable(ReadError::Io { .. } | ReadError::Raced(_)) => 4,
        NoAnswer::Unreadable(ReadError::Unsafe(_)) => 5,
        NoAnswer::Unreadable(ReadError::Damaged { .. }) => 6,
        NoAnswer::Stale { .. } => 7,
        NoAnswer::Conflict { .. } => 8,
    }
}
