//! Why a request is not recognised as an account's.

use thiserror::Error;

use crate::store::StoreError;

/// How far a client's clock may be from ours, in seconds.
pub(super) const CLOCK_SKEW_S_MAX: i64 = 300;
/// Why nobody was recognised.
#[derive(Debug, Error)]
pub(crate) enum AuthError {
    /// No `Authorization` header, several, or one of a form that is not ours.
    #[error("this needs a credential: send `Authorization: Bearer TOKEN` or an OAuth 1.0a credential")]
    Unreadable,
    /// A way to sign that is not served.
    #[error(
        "this OAuth signature method is not supported here: use HMAC-SHA512, PLAINTEXT or a bearer token"
    )]
    Method,
    /// A signature that is too old, or from the future.
    #[error(
        "this request was signed more than {} s from now: set the clock of the computer that sends it right",
        CLOCK_SKEW_S_MAX
    )]
    Clock,
    /// A signature that was served before.
    #[error("this signed request was served before: sign it anew, with another nonce")]
    Replayed,
    /// More signatures than can be remembered at once.
    #[error("too many signed requests at the moment: try again in a minute, or use a bearer token")]
    TooManySigned,
    /// Nobody's credential: wrong, revoked, or the CLI's literal `undefined`.
    #[error("this credential is not known here: log in again, or ask for a new token")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}
