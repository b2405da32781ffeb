//! A snapshot at any URL, asked for again and again, and taken when its `ETag` has changed.

use std::time::Duration;

use pushkeys_cache::status::State;
use pushkeys_feed::{SNAPSHOT_MEDIA_TYPE, Snapshot};
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};

use super::{Context, Place, accepted};
use crate::apply::applier::{Applier, Outcome, Work};
use crate::backoff::Backoff;
use crate::config::Remote;
use crate::remote::http::{Body, Request};
use crate::source::error::SyncError;
use crate::source::snapshot::BOUNDS;

/// What web servers that know nothing of snapshots call such a file. A page of HTML is never one.
const MEDIA_TYPES_TOO: &[&str] =
    &["application/ndjson", "application/jsonl", "application/octet-stream", "text/plain"];
/// An `ETag` that is longer is not remembered, and the snapshot is taken each time.
const ETAG_BYTES_MAX: usize = 256;

const _: () =
    assert!(ETAG_BYTES_MAX + 32 < pushkeys_cache::CURSOR_BYTES_MAX, "HEAD holds an ETag and its seal");

/// Asks every `interval` until something goes wrong.
pub(super) async fn follow(
    context: &Context,
    applier: &Applier,
    remote: &Remote,
    interval: Duration,
    place: &mut Place,
    backoff: &mut Backoff,
) -> Result<(), SyncError> {
    let mut etag = place.cursor.take();
    let mut is_held = false;
    loop {
        match request(remote, etag.clone()).send_if_changed(BOUNDS).await? {
            None => applier.send(Work::Contact).await?,
            Some(mut body) => {
                context.board.state(&context.settings.name, State::Syncing);
                let (found, outcome) = take(context, applier, &mut body).await?;
                is_held = matches!(outcome, Outcome::Held(_));
                etag = found;
            }
        }
        backoff.reset();
        place.cursor = etag.clone().filter(|_| !is_held);
        tokio::select! {
            () = context.pause(interval) => {}
            // What was held back must come again to be taken.
            () = accepted(context, is_held) => etag = None,
            () = applier.stopped() => return Err(SyncError::Stopped),
        }
    }
}

/// Takes the snapshot, whatever is in force.
pub(super) async fn snapshot(
    context: &Context,
    applier: &Applier,
    remote: &Remote,
) -> Result<Outcome, SyncError> {
    let mut body = request(remote, None).send(Some(BOUNDS)).await?;
    Ok(take(context, applier, &mut body).await?.1)
}

/// Asks for the snapshot, unless it is still the one with `etag`.
pub(super) fn request(remote: &Remote, etag: Option<String>) -> Request<'_> {
    Request {
        remote,
        url: remote.url.clone(),
        header: etag.map(|etag| (IF_NONE_MATCH, etag)),
        body: None,
        compressed: !remote.is_loopback(),
        media_type: SNAPSHOT_MEDIA_TYPE,
        media_types_too: MEDIA_TYPES_TOO,
    }
}

async fn take(
    context: &Context,
    applier: &Applier,
    body: &mut Body,
) -> Result<(Option<String>, Outcome), SyncError> {
    let etag = body.header(&ETAG).and_then(remembered);
    let kept = etag.clone();
    let (_, outcome) = crate::source::snapshot::take(context, applier, body, |_: &Snapshot| kept).await?;
    Ok((etag, outcome))
}

/// The tag as HEAD can hold it.
fn remembered(etag: &HeaderValue) -> Option<String> {
    let text = etag.to_str().ok()?;
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let is_tag = text.trim_start_matches("W/").starts_with('"') && text.ends_with('"');
    (text.len() <= ETAG_BYTES_MAX && is_printable && is_tag).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tag_that_head_can_hold_is_remembered() {
        let check = |text: &str, expected: bool| {
            assert_eq!(remembered(&HeaderValue::from_str(text).unwrap()).is_some(), expected, "{text}");
        };
        check("\"abc\"", true);
        check("W/\"abc\"", true);
        check("abc", false);
        check("", false);
        check("\"a\tb\"", false);
        check(&format!("\"{}\"", "a".repeat(ETAG_BYTES_MAX)), false);
    }
}
