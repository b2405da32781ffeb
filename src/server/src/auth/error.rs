//! Why a request is not authenticated as an account's.

use thiserror::Error;

use crate::store::StoreError;

/// How far a client's clock may differ from ours, in seconds.
pub(super) const CLOCK_SKEW_S_MAX: i64 = 300;
/// Why a request is not authenticated.
#[derive(Debug, Error)]
pub(crate) enum AuthError {
    /// No `Authorization` header, several, or one in another form.
    #[error("this needs a credential: send `Authorization: Bearer TOKEN` or an OAuth 1.0a credential")]
    Unreadable,
    #[error(
        "this OAuth signature method is not supported here: use HMAC-SHA512, PLAINTEXT or a bearer token"
    )]
    Method,
    #[error(
        "this request was signed more than {} s from now: set the clock of the computer that sends it",
        CLOCK_SKEW_S_MAX
    )]
    Clock,
    #[error("this signed request was served before: sign it again with another nonce")]
    Replayed,
    #[error("signed requests cannot be recorded at the moment: try again in a minute, or use a bearer token")]
    NotRecorded,
    /// Wrong, expired or revoked, or the CLI's literal `undefined`.
    #[error("this credential is not valid: log in again, or request a new token")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}
