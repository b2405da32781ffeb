//! What key services are asked for.

use std::time::Duration;

use pushkeys_feed::{
    CHANGES_MEDIA_TYPE, CHANGES_PATH, EventId, LAST_EVENT_ID, SNAPSHOT_MEDIA_TYPE, SNAPSHOT_PATH, WITH_CHAIN,
    WITH_PARAMETER,
};
use reqwest::Url;
use reqwest::header::{HeaderName, IF_NONE_MATCH};

use crate::config::{Remote, SourceKind, SourceSettings};
use crate::remote::http::{Bounds, Request, below};

/// The bounds of a snapshot: ten million RSA keys, in a time for which a service may be expected to keep its state.
pub(crate) const SNAPSHOT_BOUNDS: Bounds =
    Bounds { bytes_max: 8 * 1024 * 1024 * 1024, duration_max: Duration::from_mins(15) };

/// What web servers that know nothing of snapshots call such a file. A page of HTML is never one.
const MEDIA_TYPES_TOO: &[&str] =
    &["application/ndjson", "application/jsonl", "application/octet-stream", "text/plain"];

/// The whole snapshot of a source; `None` where the keys are on this host.
pub(crate) fn snapshot_of(settings: &SourceSettings) -> Option<Request<'_>> {
    match &settings.kind {
        SourceKind::Feed(remote) => Some(feed_snapshot(remote)),
        SourceKind::Poll { remote, .. } => Some(polled_snapshot(remote, None)),
        SourceKind::Directory { .. } => None,
    }
}

/// The whole snapshot of a host feed.
pub(super) fn feed_snapshot(remote: &Remote) -> Request<'_> {
    let url = with_chain(below(&remote.url, SNAPSHOT_PATH));
    Request { compressed: !remote.is_loopback(), ..Request::get(remote, url, SNAPSHOT_MEDIA_TYPE) }
}

/// The changes of a host feed after `id`, without an end.
pub(crate) fn feed_changes<'a>(remote: &'a Remote, id: &EventId) -> Request<'a> {
    let url = with_chain(below(&remote.url, CHANGES_PATH));
    let header = Some((HeaderName::from_static(LAST_EVENT_ID), id.to_string()));
    Request { header, ..Request::get(remote, url, CHANGES_MEDIA_TYPE) }
}

/// A service that knows chain values sends them to a host that asks for them; others pass the parameter over.
fn with_chain(mut url: Url) -> Url {
    url.query_pairs_mut().append_pair(WITH_PARAMETER, WITH_CHAIN);
    url
}

/// The snapshot at a URL of its own, unless it is still the one with `etag`.
pub(super) fn polled_snapshot(remote: &Remote, etag: Option<String>) -> Request<'_> {
    Request {
        header: etag.map(|etag| (IF_NONE_MATCH, etag)),
        compressed: !remote.is_loopback(),
        media_types_too: MEDIA_TYPES_TOO,
        ..Request::get(remote, remote.url.clone(), SNAPSHOT_MEDIA_TYPE)
    }
}
