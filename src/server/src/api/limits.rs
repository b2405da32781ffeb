//! How often an account and an address may use the API.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::keys::AccountId;
use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

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
    let Shared { peers, trusted_proxies, .. } = &*limits.0;
    let address = client_address(connection.ip(), request.headers(), trusted_proxies);
    match peers.check(&address.into()) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let refusal = ApiError::too_many("too many requests come from this address", whole_seconds(wait));
            refusal.for_method(request.method()).into_response()
        }
    }
}

/// Rounded up: a client that waits so long is served.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}
