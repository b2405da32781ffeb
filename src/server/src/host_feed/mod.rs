//! The feed for push hosts: a snapshot of all keys, the numbered changes after it, and the hosts' reports.
//!
//! | status | when | reaction |
//! |---|---|---|
//! | 200 | the stream follows | the host discards a snapshot without its trailer |
//! | 400 | a report is malformed | the host discards it: the versions differ |
//! | 401 | no valid token or certificate of a host | the operator issues one with `host add` |
//! | 408, 413, 415 | a report takes too long, is too long, or is no JSON | the host logs the sentence |
//! | 429 | a host reports too much at once | the host waits, as `Retry-After` says |
//! | 503 | the database does not answer, or too many snapshots are being sent | the host waits, as `Retry-After` says |
//!
//! A stream of changes holds no connection to the database, no lock and at most one batch: a slow host's stream reads from
//! the `changes` table once the host accepts bytes again.

mod applied;
mod body;
mod changes;
mod error;
mod host_epochs;
mod host_keys;
mod hub;
mod reports;
mod shares;
mod snapshot;
mod state;
mod with;

use axum::Router;
use axum::routing::{get, post};
use tower_http::compression::{CompressionLayer, CompressionLevel};

pub(crate) use self::hub::Hub;
pub(crate) use self::state::Feed;

/// The routes of the feed.
pub(crate) fn router(feed: Feed) -> Router {
    // The first sync of a fleet is limited by the processor: a better ratio would cost more than it saves.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .route(pushkeys_feed::SNAPSHOT_PATH, get(snapshot::serve).layer(compression))
        .route(pushkeys_feed::CHANGES_PATH, get(changes::serve))
        .route(pushkeys_feed::USAGE_PATH, post(reports::usage))
        .route(pushkeys_feed::REVOKED_PATH, post(reports::revoked))
        .route(pushkeys_feed::HOST_KEYS_PATH, post(host_keys::note))
        .route(pushkeys_feed::APPLIED_PATH, post(applied::note))
        .with_state(feed)
}
