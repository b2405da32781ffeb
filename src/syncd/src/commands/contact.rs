//! Contact with a source: whether it answers, takes the credentials, and sends the beginning of a snapshot.

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_feed::SnapshotLine;
use reqwest::header::{DATE, HeaderValue};
use serde::Serialize;

use crate::config::SourceSettings;
use crate::remote::http::{Body, Bounds};
use crate::source::error::SyncError;
use crate::source::requests::snapshot_of;
use crate::source::snapshot_lines::SnapshotLines;

/// The header of a snapshot and its first entry come at once, or something is wrong.
const BOUNDS: Bounds = Bounds { bytes_max: 16 * 1024 * 1024, duration_max: Duration::from_secs(10) };

/// What a source answered.
#[derive(Debug)]
pub(super) struct Contact {
    /// By how many seconds this host's clock is ahead of the source's, where the source gave its time.
    pub(super) clock_ahead_s: Option<i64>,
    /// The first key of its snapshot, if it has one.
    pub(super) sample: Option<Sample>,
}

/// A key that a lookup on this host must know as the source does.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    source: String,
    fingerprint: String,
    account: String,
    key_id: String,
}

/// Begins to read the snapshot of a source, and breaks off after its first entry. `None` for a source on this host.
pub(super) async fn ask(settings: &SourceSettings) -> Result<Option<Contact>, SyncError> {
    let Some(request) = snapshot_of(settings) else { return Ok(None) };
    let mut body = request.send(Some(BOUNDS)).await?;
    let now = Timestamp::now();
    let clock_ahead_s = body.header(&DATE).and_then(seconds).map(|there| now.as_second() - there);
    let sample = first_entry(&mut body).await?.map(|entry| Sample {
        source: settings.name.to_string(),
        fingerprint: entry.fingerprint.to_string(),
        account: entry.account.to_string(),
        key_id: entry.key_id.to_string(),
    });
    Ok(Some(Contact { clock_ahead_s, sample }))
}

async fn first_entry(body: &mut Body) -> Result<Option<pushkeys_feed::Entry>, SyncError> {
    let mut lines = SnapshotLines::of(body);
    while let Some(line) = lines.next().await? {
        if let SnapshotLine::Entry(entry) = line {
            return Ok(Some(entry));
        }
    }
    lines.finish()?;
    Ok(None)
}

/// The time of a `Date` header (RFC 9110 section 5.6.7).
fn seconds(date: &HeaderValue) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok()?;
    Some(time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let check = |text: &'static str, expected| {
            assert_eq!(seconds(&HeaderValue::from_static(text)), expected, "{text}");
        };
        check("Fri, 15 Jan 2027 08:00:00 GMT", Some(1_800_000_000));
        check("yesterday", None);
    }
}
