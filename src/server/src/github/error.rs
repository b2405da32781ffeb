//! Why GitHub's keys are not listed, and why an account is not linked.

use thiserror::Error;

use crate::code_flow::CodeFlowError;
use crate::outbound::OutboundError;
use crate::seal::SealError;
use crate::store::StoreError;

/// The scope without which GitHub does not tell an account's keys.
pub(crate) const SCOPE: &str = "read:public_key";
/// Keys in one answer, which is the most that GitHub gives.
pub(super) const PAGE_KEYS: usize = 100;
/// The most pages: an account here may hold no more keys than they have.
pub(super) const PAGES_MAX: usize = 10;

/// Why GitHub told nothing.
#[derive(Debug, Error)]
pub(crate) enum GithubError {
    /// The person took the permission back, or never gave it.
    #[error("GitHub no longer accepts the link to this account: link it again")]
    LinkAgain,
    /// For this account, or for the whole app.
    #[error("GitHub asks to wait: try again in {wait_s} s")]
    RateLimited {
        /// As GitHub says, in seconds.
        wait_s: u64,
    },
    /// See [`OutboundError`].
    #[error("GitHub cannot be reached at the moment: try again in a minute")]
    Unreachable(#[from] OutboundError),
    /// See [`LISTING_TIME_MAX`].
    #[error("GitHub takes too long to list the keys: try again in a minute")]
    TooSlow,
    /// Neither of the above.
    #[error("GitHub failed (status {status}): try again in a minute")]
    Status { status: u16 },
    /// Not what its documentation says.
    #[error("GitHub's answer cannot be read: try again in a minute")]
    Malformed,
    /// See [`PAGES_MAX`].
    #[error("GitHub lists more than {} keys, which is more than can be imported", PAGES_MAX * PAGE_KEYS)]
    TooMany,
    /// The next page would be at another service.
    #[error("GitHub's list of keys goes on at another address, which is not asked")]
    Elsewhere,
}

/// Why an account was not linked.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// The browser brought nothing.
    #[error(transparent)]
    Flow(#[from] CodeFlowError),
    /// GitHub does not say whose the token is.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// The person unticked it, or the app at GitHub is of the other kind.
    #[error("GitHub did not give the permission to read the keys ({SCOPE}): link again and grant it")]
    Scope,
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Why nothing is proposed.
#[derive(Debug, Error)]
pub(crate) enum ProposeError {
    #[error(transparent)]
    Github(#[from] GithubError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
