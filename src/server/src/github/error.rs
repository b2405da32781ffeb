//! Why GitHub's keys are not listed, and why an account is not linked.

use axum::http::StatusCode;
use thiserror::Error;

use crate::code_flow::{CodeFlowError, RenewError};
use crate::encryption::EncryptError;
use crate::outbound::{OutboundError, Remedy};
use crate::store::StoreError;

/// The scope that listing an account's keys with their titles requires.
pub(crate) const SCOPE: &str = "read:public_key";
/// Keys per page, which is GitHub's maximum.
pub(super) const PAGE_KEYS: usize = 100;
/// The maximum number of pages that are read.
pub(super) const PAGES_MAX: usize = 10;

/// Why GitHub gave no answer that can be used.
#[derive(Debug, Error)]
pub(crate) enum GithubError {
    /// The user revoked the permission, or never granted it.
    #[error("GitHub no longer accepts the link to this account: link it again")]
    LinkAgain,
    /// Of this account or of the whole app.
    #[error("GitHub limits the rate of requests: try again in {wait_s} s")]
    RateLimited { wait_s: u64 },
    /// See [`OutboundError`].
    #[error("GitHub cannot be reached: {}", .0.remedy().advice())]
    Unreachable(#[from] OutboundError),
    /// See [`LISTING_TIME_MAX`].
    #[error("GitHub takes too long to list the keys: try again in a minute")]
    TooSlow,
    /// Any other status.
    #[error("GitHub answered with status {}: {}", status.as_u16(), Remedy::of_status(*status).advice())]
    Status { status: StatusCode },
    /// Not in the documented form.
    #[error("GitHub's response cannot be read: {}", Remedy::Operator.advice())]
    Malformed,
    /// The link stands, but its token has ended.
    #[error("GitHub does not renew its token: {}", .0.remedy().advice())]
    Renew(#[source] RenewError),
    /// See [`PAGES_MAX`].
    #[error("GitHub lists more than {} keys, which is more than can be imported", PAGES_MAX * PAGE_KEYS)]
    TooMany,
    /// The next page would be at another service.
    #[error("GitHub's list of keys continues at another host, which is not trusted")]
    Elsewhere,
}

impl GithubError {
    /// What helps against it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::LinkAgain => Remedy::Repeat,
            Self::RateLimited { .. } | Self::TooSlow => Remedy::Wait,
            Self::Unreachable(error) => error.remedy(),
            Self::Status { status } => Remedy::of_status(*status),
            Self::Renew(error) => error.remedy(),
            Self::Malformed | Self::TooMany | Self::Elsewhere => Remedy::Operator,
        }
    }
}

/// Why an account was not linked.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// See [`CodeFlowError`].
    #[error(transparent)]
    Flow(#[from] CodeFlowError),
    /// See [`GithubError`].
    #[error(transparent)]
    Github(#[from] GithubError),
    /// The user deselected it, or the GitHub App lacks it.
    #[error("GitHub did not grant the permission to read the keys ({SCOPE}): link again and grant it")]
    Scope,
    #[error(transparent)]
    Seal(#[from] EncryptError),
}

/// Why nothing is proposed.
#[derive(Debug, Error)]
pub(crate) enum ProposeError {
    #[error(transparent)]
    Github(#[from] GithubError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
