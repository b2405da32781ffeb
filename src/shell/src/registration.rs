//! Whether the key of a session is still what sshd took it for.
//!
//! sshd asks once per connection, and a multiplexed connection opens new sessions long after its key is
//! gone. So every session asks again, by the same decision.

use cache::{Cache, Entry, NoAnswer, ReadError, Verdict};
use jiff::Timestamp;
use keys::Login;
use thiserror::Error;

use crate::arguments::Arguments;
use crate::request::Command;

/// Why a session ends, in words for its client. What only the host's owner may know is in the source.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(
        "this host cannot check your key at the moment\nhint: try again later, and tell who runs this host"
    )]
    CannotAnswer(#[source] NoAnswer),
    #[error("your key is no longer registered\nhint: add it at the key service again")]
    Removed,
    #[error("your key no longer opens this login")]
    OtherLogin,
    #[error("your key was registered anew after this connection was made\nhint: connect again")]
    Changed,
    #[error("your key expired at {0}\nhint: add one at the key service")]
    Expired(Timestamp),
    #[error(
        "`{}` is refused: there is no shell here, and no command is served\n\
         hint: connect without a command to see whose key this is",
        keys::escape(&.0.to_string())
    )]
    Command(Command),
}

impl Refusal {
    /// One word for the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::CannotAnswer(_) => "cannot-answer",
            Self::Removed => "key-removed",
            Self::OtherLogin => "login-removed",
            Self::Changed => "registration-changed",
            Self::Expired(_) => "key-expired",
            Self::Command(_) => "command-refused",
        }
    }

    /// Whether this is for the host's owner to cure, and not the client's affair.
    pub(crate) fn is_fault_of_host(&self) -> bool {
        matches!(self, Self::CannotAnswer(_))
    }
}

/// The registration that `arguments` speak of, if at `now` sshd would be given its line for `login`.
pub(crate) fn check(arguments: &Arguments, login: &Login, now: Timestamp) -> Result<Entry, Refusal> {
    let consulted = Cache::open(&arguments.cache)
        .and_then(|cache| cache.consult(&arguments.fingerprint))
        .map_err(|error| Refusal::CannotAnswer(error.into()))?;
    let entry = match Verdict::of(consulted, login, now).map_err(Refusal::CannotAnswer)? {
        Verdict::Known { entry, .. } => entry,
        Verdict::UnknownKey => return Err(Refusal::Removed),
        Verdict::OtherLogin => return Err(Refusal::OtherLogin),
    };
    if entry.account != arguments.account || entry.key_id != arguments.key_id {
        return Err(Refusal::Changed);
    }
    match entry.expires_at() {
        Ok(Some(instant)) if instant <= now => Err(Refusal::Expired(instant)),
        Ok(_) => Ok(entry),
        // Neither does sshd take such a line: somebody has written it who is not syncd.
        Err(damage) => Err(Refusal::CannotAnswer(
            ReadError::Damaged { path: arguments.cache.clone(), source: damage }.into(),
        )),
    }
}
