//! Why a session ends: in words for its client, and in a word for the log.

use std::error::Error;

use jiff::Timestamp;
use pushkeys_cache::NoAnswer;
use thiserror::Error;

use crate::authorize::AuthorizeError;
use crate::request::Command;
use crate::request::{ParseGitCommandError, RepositoryName};
use crate::serve_error::ServeError;
use crate::settings::SettingsError;
use crate::user_auth::UserAuthError;

/// Why a session ends, in words for its client. What only the host's owner may know is in the source.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(
        "this host cannot check your key at the moment\nhint: try again later, and tell who runs this host"
    )]
    CannotAnswer(#[source] NoAnswer),
    #[error("your key is no longer registered\nhint: add it at the key service again")]
    Removed,
    #[error("your key was revoked on this host\nhint: ask who runs it")]
    Revoked,
    #[error("your key no longer opens this login")]
    OtherLogin,
    #[error("your key was registered anew after this connection was made\nhint: connect again")]
    Changed,
    #[error("two sources of this host disagree about whose your key is\nhint: tell who runs this host")]
    Contested(#[source] NoAnswer),
    #[error("your key expired at {0}\nhint: add one at the key service")]
    Expired(Timestamp),
    #[error(
        "this connection was let in by another key than the session's\n\
         hint: connect anew with one key: ssh -o IdentitiesOnly=yes -i KEY"
    )]
    OtherKey(#[source] UserAuthError),
    #[error(
        "`{}` is refused: there is no shell here, and no file transfer; this host serves `git push`, `git clone` and \
         `git fetch`\nhint: connect without a command to see whose key this is",
        pushkeys_keys::escape(&.0.to_string())
    )]
    Command(Command),
    #[error(
        "`{}` is refused: {why}\nhint: name the repository as in ssh://git@HOST/app.git",
        pushkeys_keys::escape(&command.to_string())
    )]
    Malformed { command: Command, why: ParseGitCommandError },
    #[error("there is no repository `{repository}`{}", hint_at_creation(*.is_created_by_push))]
    NoRepository { repository: RepositoryName, is_created_by_push: bool },
    #[error("`{repository}` is refused{}", as_lines(reason))]
    NotAllowed { repository: RepositoryName, reason: Vec<String> },
    #[error(
        "nobody could be asked whether `{repository}` is yours\nhint: try again later, and tell who runs this host"
    )]
    NotDecided { repository: RepositoryName, source: AuthorizeError },
    #[error("git is not set up on this host\nhint: tell who runs it")]
    NotSetUp(#[source] SettingsError),
    #[error("this host cannot serve git at the moment\nhint: try again later, and tell who runs this host")]
    CannotServe(#[source] ServeError),
}

impl Refusal {
    /// One word for the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::CannotAnswer(_) => "cannot-answer",
            Self::Removed => "key-removed",
            Self::Revoked => "key-revoked",
            Self::OtherLogin => "login-removed",
            Self::Changed => "registration-changed",
            Self::Contested(_) => "key-contested",
            Self::Expired(_) => "key-expired",
            Self::OtherKey(_) => "other-key",
            Self::Command(_) => "command-refused",
            Self::Malformed { .. } => "command-malformed",
            Self::NoRepository { .. } => "no-repository",
            Self::NotAllowed { .. } => "not-allowed",
            Self::NotDecided { .. } => "not-decided",
            Self::NotSetUp(_) => "not-set-up",
            Self::CannotServe(_) => "cannot-serve",
        }
    }

    /// What is for the host's owner to know, and to cure: it is no client's affair.
    pub(crate) fn fault(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::CannotAnswer(why) | Self::Contested(why) => Some(why),
            Self::OtherKey(why) => Some(why),
            Self::NotDecided { source, .. } => Some(source),
            Self::NotSetUp(why) => Some(why),
            Self::CannotServe(why) => Some(why),
            _ => None,
        }
    }

    /// Whether a session that is running ends by it. An outage of the cache ends none.
    pub(crate) fn ends_session(&self) -> bool {
        !matches!(self, Self::CannotAnswer(_))
    }
}

fn hint_at_creation(is_created_by_push: bool) -> &'static str {
    if is_created_by_push {
        " yet\nhint: git push creates it"
    } else {
        "\nhint: ask who runs this host to make it"
    }
}

fn as_lines(reason: &[String]) -> String {
    reason.iter().flat_map(|line| ["\n  ", line]).collect()
}
