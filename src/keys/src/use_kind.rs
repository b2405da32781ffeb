//! What a key is used for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a key was used for, after sshd had accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UseKind {
    /// For the greeting: the user checked their ssh configuration.
    Check,
    /// To write to a repository.
    Push,
    /// To read from a repository.
    Fetch,
}

/// The text is not the name of a [`UseKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key is used to `check`, to `push` or to `fetch`")]
pub struct ParseUseKindError;

impl UseKind {
    const ALL: [Self; 3] = [Self::Check, Self::Push, Self::Fetch];

    /// The name in the cache and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Push => "push",
            Self::Fetch => "fetch",
        }
    }
}

impl fmt::Display for UseKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for UseKind {
    type Err = ParseUseKindError;

    fn from_str(name: &str) -> Result<Self, ParseUseKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(ParseUseKindError)
    }
}
