//! A snapshot at any URL, asked for again and again, and taken when its `ETag` has changed.

use std::time::Duration;

use pushkeys_cache::status::State;
use reqwest::header::{ETAG, HeaderValue};

use super::error::SyncError;
use super::requests::{SNAPSHOT_BOUNDS, polled_snapshot};
use super::snapshot;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::new_state::Outcome;
use crate::backoff::SourceBackoff;
use crate::config::Remote;
use crate::remote::http::Body;

/// An `ETag` that is longer is not remembered, and the snapshot is taken each time.
const ETAG_BYTES_MAX: usize = 256;

const _: () =
    assert!(ETAG_BYTES_MAX + 32 < pushkeys_cache::CURSOR_BYTES_MAX, "HEAD holds an ETag and its tag");

/// Asks every `interval` until something goes wrong.
pub(super) async fn follow(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
    interval: Duration,
    resume_position: &mut Option<String>,
    backoff: &mut SourceBackoff,
) -> Result<(), SyncError> {
    let mut etag = resume_position.take();
    loop {
        match polled_snapshot(remote, etag.clone()).send_if_changed(SNAPSHOT_BOUNDS).await? {
            None => applier.contact().await?,
            Some(mut body) => {
                task.status.state(State::Syncing);
                let (found, _) = take(task, applier, &mut body).await?;
                etag = found;
            }
        }
        backoff.reset();
        *resume_position = etag.clone().filter(|_| !task.cache.is_held());
        tokio::select! {
            () = task.pause(interval) => {}
            // What was held back must come again to be taken.
            () = task.until_confirmed() => etag = None,
            () = applier.stopped() => return Err(ApplyError::Stopped.into()),
        }
    }
}

/// Takes the snapshot, whatever is in force.
pub(super) async fn sync(
    task: &SourceTask,
    applier: &Applier,
    remote: &Remote,
) -> Result<Outcome, SyncError> {
    let mut body = polled_snapshot(remote, None).send(Some(SNAPSHOT_BOUNDS)).await?;
    Ok(take(task, applier, &mut body).await?.1)
}

async fn take(
    task: &SourceTask,
    applier: &Applier,
    body: &mut Body,
) -> Result<(Option<String>, Outcome), SyncError> {
    let etag = body.header(&ETAG).and_then(remembered);
    let (_, outcome) = snapshot::take(task, applier, body, |_| etag.clone()).await?;
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
