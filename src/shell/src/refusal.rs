//! Why a session ends: a message for its client, and a word for the log.

use std::error::Error;

use pushkeys_cache::NoAnswer;
use pushkeys_keys::Expiry;
use thiserror::Error;

use crate::authorize::AuthorizeError;
use crate::identity::Identity;
use crate::request::{Access, Command, ParseGitCommandError, RepositoryName};
use crate::room::NoRoom;
use crate::serve_error::ServeError;
use crate::settings::SettingsError;
use crate::user_auth::UserAuthError;

/// Why a session ends, as a message for its client. Details for the host's operator are in the source.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("this host cannot check your key at the moment")]
    CannotAnswer(#[source] NoAnswer),
    #[error("your key is no longer registered")]
    Removed,
    #[error("your key was revoked on this host")]
    Revoked,
    #[error("your key is no longer valid for this login")]
    OtherLogin,
    #[error("your key was registered again after this connection was made")]
    Changed,
    #[error("two sources of this host assign your key to different accounts")]
    Conflict(#[source] NoAnswer),
    #[error("your key expired at {0}")]
    Expired(Expiry),
    #[error("this connection was authenticated by another key than the session's")]
    OtherKey(#[source] UserAuthError),
    #[error(
        "`{}` is refused: there is no shell here, and no file transfer; this host serves `git push`, `git clone` and \
         `git fetch`",
        pushkeys_keys::escape(&.0.to_string())
    )]
    Command(Command),
    #[error("this host stores no files of Git LFS")]
    NoLfs,
    #[error("this host transfers files of Git LFS over ssh only")]
    NoLfsServer,
    #[error("this host transfers files of Git LFS over HTTP only")]
    NoLfsTransfer,
    #[error("`{}` is refused: {why}", pushkeys_keys::escape(&command.to_string()))]
    Malformed { command: Command, why: ParseGitCommandError },
    #[error("{owner} no repository `{repository}` on this host")]
    NoRepository {
        repository: RepositoryName,
        /// `ACCOUNT has`, or `there is` if accounts share their repositories.
        owner: String,
        access: Access,
    },
    #[error("`{0}` would be inside another repository")]
    Nested(RepositoryName),
    #[error("`{0}` is a folder of repositories on this host, and cannot be one itself")]
    Folder(RepositoryName),
    #[error("{account} may not {} `{repository}`{}", verb(*access), as_lines(reason))]
    NotAllowed { repository: RepositoryName, account: String, access: Access, reason: Vec<String> },
    #[error("this host cannot find out at the moment whether you may {} `{repository}`", verb(*access))]
    NotDecided { repository: RepositoryName, access: Access, source: AuthorizeError },
    #[error(
        "`{repository}` cannot be created: {account} has {max} repositories, the most that one account has on this host"
    )]
    TooManyRepositories { repository: RepositoryName, account: String, max: u32 },
    #[error("{account} has {max} sessions on this host at the moment, the most that one account may have")]
    TooManySessions { account: String, max: u32 },
    #[error(
        "nothing of this push is stored: it is larger than the {max_mib} MiB that this host accepts at once"
    )]
    PushTooLarge { max_mib: u64 },
    #[error(transparent)]
    NoRoom(NoRoom),
    #[error("nothing was sent or received for {0} s")]
    Idle(u32),
    #[error("git is not set up on this host")]
    NotSetUp(#[source] SettingsError),
    #[error("this host cannot serve git at the moment")]
    CannotServe(#[source] ServeError),
}

impl Refusal {
    /// The word for the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::CannotAnswer(_) => "cannot-answer",
            Self::Removed => "key-removed",
            Self::Revoked => "key-revoked",
            Self::OtherLogin => "login-removed",
            Self::Changed => "registration-changed",
            Self::Conflict(_) => "key-contested",
            Self::Expired(_) => "key-expired",
            Self::OtherKey(_) => "other-key",
            Self::Command(_) => "command-refused",
            Self::NoLfs => "no-lfs",
            Self::NoLfsServer => "no-lfs-server",
            Self::NoLfsTransfer => "no-lfs-transfer",
            Self::Malformed { .. } => "command-malformed",
            Self::NoRepository { .. } => "no-repository",
            Self::Nested(_) => "nested-repository",
            Self::Folder(_) => "folder-of-repositories",
            Self::NotAllowed { .. } => "not-allowed",
            Self::NotDecided { .. } => "not-decided",
            Self::TooManyRepositories { .. } => "too-many-repositories",
            Self::TooManySessions { .. } => "too-many-sessions",
            Self::PushTooLarge { .. } => "push-too-large",
            Self::NoRoom(_) => "no-room",
            Self::Idle(_) => "idle",
            Self::NotSetUp(_) => "not-set-up",
            Self::CannotServe(_) => "cannot-serve",
        }
    }

    /// What the client can do, which may be to run `greeting_command`.
    pub(crate) fn hint(&self, greeting_command: &str) -> String {
        const OPERATOR: &str = "try again later, and tell the operator of this host";
        match self {
            Self::CannotAnswer(_) | Self::NotDecided { .. } | Self::CannotServe(_) => OPERATOR.to_owned(),
            Self::Removed => "add it at the key service again".to_owned(),
            Self::Revoked | Self::OtherLogin => "ask the operator of this host".to_owned(),
            Self::Changed => "connect again".to_owned(),
            Self::Conflict(_) | Self::NotSetUp(_) => "tell the operator of this host".to_owned(),
            Self::Expired(_) => "add a new one at the key service".to_owned(),
            Self::OtherKey(_) => "connect again with one key: ssh -o IdentitiesOnly=yes -i KEY".to_owned(),
            Self::Command(_) => format!("`{greeting_command}` shows whose key this is"),
            Self::NoLfs => {
                "set `lfs.url` to a server that does, or keep the files in git: git lfs migrate export"
                    .to_owned()
            }
            Self::NoLfsServer => "git-lfs 3.0 and newer can do that".to_owned(),
            Self::NoLfsTransfer => "git-lfs does that by itself".to_owned(),
            Self::Malformed { .. } => "name the repository as in ssh://git@HOST/app.git".to_owned(),
            Self::NoRepository { access: Access::Read, .. } => {
                format!("`{greeting_command}` lists the repositories that you have here")
            }
            Self::NoRepository { access: Access::Write, .. } => {
                "ask the operator of this host to create it".to_owned()
            }
            Self::Nested(_) | Self::Folder(_) => "choose another name".to_owned(),
            Self::NotAllowed { .. } => format!("`{greeting_command}` shows your account on this host"),
            Self::TooManyRepositories { .. } => "ask the operator of this host to remove some".to_owned(),
            Self::TooManySessions { .. } => "try again when one of them has ended".to_owned(),
            Self::PushTooLarge { .. } => {
                "push fewer commits at a time, or keep large files in Git LFS".to_owned()
            }
            Self::NoRoom(_) => {
                "ask the operator of this host for more, or to remove what you no longer need".to_owned()
            }
            Self::Idle(_) => "try again; the time of your own hooks before a push counts, too".to_owned(),
        }
    }

    /// What the host's operator has to fix, if anything.
    pub(crate) fn fault(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::CannotAnswer(why) | Self::Conflict(why) => Some(why),
            Self::OtherKey(why) => Some(why),
            Self::NotDecided { source, .. } => Some(source),
            Self::NotSetUp(why) => Some(why),
            Self::CannotServe(why) => Some(why),
            _ => None,
        }
    }

    /// Whether a running session is ended for this reason. An outage of the cache does not end it.
    pub(crate) fn ends_session(&self) -> bool {
        !matches!(self, Self::CannotAnswer(_))
    }

    /// The full message for the client: what was refused and why, the identity, and what to do.
    pub(crate) fn explain(&self, identity: &Identity, greeting_command: &str) -> String {
        let hint = self.hint(greeting_command);
        format!("{self}\nyou are known here as {identity}\nhint: {hint}")
    }
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "push to",
    }
}

fn as_lines(reason: &[String]) -> String {
    reason.iter().flat_map(|line| ["\n  ", line]).collect()
}
