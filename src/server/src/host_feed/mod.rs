//! What push hosts follow: a snapshot of all keys, and the numbered changes after it; and what they report.
//!
//! | status | when | who reacts how |
//! |---|---|---|
//! | 200 | the stream follows | a snapshot without its trailer never happened |
//! | 400 | a report is none | the host drops it: the two are of different versions |
//! | 401 | no token or certificate, or no host's | the sysadmin reads the sentence; `host add` issues one |
//! | 503 | the database does not answer, or too many snapshots are under way | the host waits, as `Retry-After` says |
//!
//! A stream of changes never holds the database, a lock or more than one batch: what it has not sent yet
//! it reads from the `changes` table once its host takes bytes again.

mod applied;
mod changes;
mod hub;
mod reports;
mod snapshot;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use pushkeys_keys::ErrorReport;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::compression::{CompressionLayer, CompressionLevel};

pub(crate) use self::hub::Hub;
use crate::auth::{Authenticator, HostAuthError, KnownHost};
use crate::store::{SNAPSHOTS_MAX, Store, StoreError};
use crate::tls::ClientCertificate;

/// What the feed needs.
#[derive(Clone)]
pub(crate) struct Feed {
    store: Store,
    authenticator: Authenticator,
    hub: Hub,
    snapshots: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Feed {
    /// Serves what is in `store`; streams end when `stopping` is cancelled.
    pub(crate) fn new(
        store: Store,
        authenticator: Authenticator,
        hub: Hub,
        stopping: CancellationToken,
    ) -> Self {
        Self { store, authenticator, hub, snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)), stopping }
    }

    async fn host(
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

/// All paths of the feed.
pub(crate) fn router(feed: Feed) -> Router {
    // The first sync of a fleet waits for the processor: a better ratio would cost more than it saves.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .route(pushkeys_feed::SNAPSHOT_PATH, get(snapshot::serve).layer(compression))
        .route(pushkeys_feed::CHANGES_PATH, get(changes::serve))
        .route(pushkeys_feed::USAGE_PATH, post(reports::usage))
        .route(pushkeys_feed::REVOKED_PATH, post(reports::revoked))
        .route(
            pushkeys_feed::APPLIED_PATH,
            post(applied::note).layer(DefaultBodyLimit::max(applied::BODY_BYTES_MAX)),
        )
        .with_state(feed)
}

/// Why a stream did not begin, or a report was not taken.
#[derive(Debug)]
enum FeedError {
    Unauthorized(HostAuthError),
    Malformed(String),
    TooManySnapshots,
    NewEpoch,
    Store(StoreError),
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for FeedError {
    fn into_response(self) -> Response {
        let text = match self {
            Self::Unauthorized(error) => {
                let text = format!("{}\n", ErrorReport::of(&error));
                return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response();
            }
            Self::Malformed(why) => {
                let text = format!("the report cannot be read: {}\n", pushkeys_keys::escape(&why));
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
            Self::TooManySnapshots => "too many snapshots are under way\n",
            Self::NewEpoch => "the database begins a new epoch\n",
            Self::Store(error) => {
                tracing::error!("a host was not answered: {}", ErrorReport::of(&error));
                "the database does not answer\n"
            }
        };
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text).into_response()
    }
}

type FromFeed = State<Feed>;
type FromConnection = Extension<ClientCertificate>;
