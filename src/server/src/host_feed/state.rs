//! The state of the feed's handlers.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::FeedError;
use super::host_epochs::HostEpochs;
use super::hub::Hub;
use super::shares::Shares;
use crate::auth::{Authenticator, HostAuthError, KnownHost};
use crate::push_host::PushHost;
use crate::store::{SNAPSHOTS_MAX, Store};
use crate::tls::ClientCertificate;

/// The state of the feed's handlers.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(super) store: Store,
    authenticator: Authenticator,
    pub(super) hub: Hub,
    pub(super) snapshots: Arc<Semaphore>,
    pub(super) host_epochs: HostEpochs,
    pub(super) shares: Shares,
    /// What users connect to, except for hosts of which the operator has said otherwise.
    pub(super) push_host: Option<PushHost>,
    pub(super) stopping: CancellationToken,
}

impl Feed {
    /// Streams end when `stopping` is cancelled.
    pub(crate) fn new(
        store: Store,
        authenticator: Authenticator,
        hub: Hub,
        push_host: Option<PushHost>,
        stopping: CancellationToken,
    ) -> Self {
        let snapshots = Arc::new(Semaphore::new(SNAPSHOTS_MAX as usize));
        let (host_epochs, shares) = (HostEpochs::default(), Shares::default());
        Self { store, authenticator, hub, snapshots, host_epochs, shares, push_host, stopping }
    }

    pub(super) async fn host(
        &self,
        headers: &HeaderMap,
        Extension(ClientCertificate(certificate)): &FromConnection,
    ) -> Result<KnownHost, FeedError> {
        self.authenticator.host(headers, certificate.as_ref()).await.map_err(|error| match error {
            HostAuthError::Store(error) => FeedError::Store(error),
            error => FeedError::Unauthorized(error),
        })
    }
}

pub(super) type FromFeed = State<Feed>;
pub(super) type FromConnection = Extension<ClientCertificate>;
