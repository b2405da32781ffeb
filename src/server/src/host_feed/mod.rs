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
mod error;
mod hub;
mod reports;
mod snapshot;
mod state;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tower_http::compression::{CompressionLayer, CompressionLevel};

pub(crate) use self::hub::Hub;
pub(crate) use self::state::Feed;

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
