//! How often an account and an address may use the API.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use pushkeys_keys::AccountId;

use super::ApiError;
use crate::config::Config;
use crate::rate_limit::{Limiter, Peer, client_address};

/// The limits of the API; clones count together.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    accounts: Limiter<AccountId>,
    peers: Limiter<Peer>,
    trusted_proxies: Vec<IpAddr>,
}

impl Limits {
    /// The limits that are configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Arc::new(Shared {
            accounts: Limiter::new(config.account_rate),
            peers: Limiter::new(config.address_rate),
            trusted_proxies: config.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
        }))
    }

    /// Where a request over `connection` came from.
    pub(crate) fn address(&self, connection: SocketAddr, headers: &HeaderMap) -> IpAddr {
        client_address(connection.ip(), headers, &self.0.trusted_proxies)
    }

    /// Counts a request from `address`. `Err`: it comes too early by so many seconds.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), u64> {
        self.0.peers.check(&address.into()).map_err(whole_seconds)
    }

    /// Counts a request of `account`.
    pub(super) fn check_account(&self, account: &AccountId) -> Result<(), ApiError> {
        self.0
            .accounts
            .check(account)
            .map_err(|wait| ApiError::too_many("this account sends too many requests", whole_seconds(wait)))
    }
}

/// Counts a request of an address before anything is done for it.
pub(super) async fn check_peer(
    State(limits): State<Limits>,
    Extension(connection): Extension<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match limits.check_address(limits.address(connection, request.headers())) {
        Ok(()) => next.run(request).await,
        Err(wait_s) => {
            let refusal = ApiError::too_many("too many requests come from this address", wait_s);
            refusal.for_method(request.method()).into_response()
        }
    }
}

/// Rounded up: a client that waits so long is served.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}
