//! Contact with a source: whether it answers, takes the credentials, and says what a host can use. It is what a key service of
//! an operator's own is tried with, so it reads as much of it as the daemon would, by the daemon's own code.

use std::time::Instant;

use jiff::Timestamp;
use pushkeys_feed::{
    Cursor, Event, EventError, EventId, EventReader, ParseCursorError, Position, Received, SnapshotLine,
    StreamError,
};
use reqwest::header::{DATE, HeaderValue};
use serde::Serialize;
use thiserror::Error;

use crate::config::{Remote, SourceKind, SourceSettings};
use crate::history::{self, HistoryError};
use crate::remote::error::RequestError;
use crate::remote::http::Body;
use crate::source::error::SyncError;
use crate::source::requests::{SNAPSHOT_BOUNDS, feed_changes, snapshot_of};
use crate::source::snapshot_lines::SnapshotLines;
use crate::validate::{Skip, Skips, Validator};

/// How many entries are validated together, which takes less time.
const VALIDATED_TOGETHER: usize = 1024;
/// An id that no service has given: its epoch is of a database that never was.
const UNKNOWN: &str = "0unknown0-1";
/// How many events of a stream are read before one that says what the last change was.
const EVENTS_MAX: usize = 10_000;

/// How much of a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// As far as the first entry of its snapshot.
    FirstEntry,
    /// The whole snapshot, and the beginning of its stream of changes.
    Whole,
}

/// What a source answered.
#[derive(Debug)]
pub(super) struct Contact {
    /// By how many seconds this host's clock is ahead of the source's, where the source gave its time.
    pub(super) clock_ahead_s: Option<i64>,
    /// The first key of its snapshot that can be used, if it has one.
    pub(super) sample: Option<Sample>,
    /// What was read beyond that.
    pub(super) whole: Option<WholeContact>,
}

/// What all that a source says at first comes to.
#[derive(Debug)]
pub(super) struct WholeContact {
    /// The change that the snapshot is of.
    pub(super) position: Position,
    pub(super) entries: u64,
    pub(super) skipped: Skips,
    /// How the stream of changes begins, in words, if the source has one.
    pub(super) stream: Option<String>,
}

/// A key that a lookup on this host must know as the source does.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    source: String,
    fingerprint: String,
    account: String,
    key_id: String,
}

/// Why a source cannot be used, or a service does not keep to the protocol.
#[derive(Debug, Error)]
pub(super) enum ContactError {
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("its stream of changes cannot be opened")]
    OpenStream(#[source] RequestError),
    #[error(
        "its stream of changes after `{after}` says nothing in time: a heartbeat is due every few seconds"
    )]
    Silent { after: String, source: RequestError },
    #[error("its stream of changes after `{after}` ends")]
    Ended { after: String },
    #[error("its stream of changes after `{after}` is no stream of events")]
    Stream { after: String, source: StreamError },
    #[error("its stream of changes does not go on from its snapshot")]
    History(#[from] HistoryError),
    #[error("its stream of changes asks for a snapshot right after the one of change `{after}`")]
    ResetAgain { after: Cursor },
    #[error("the heartbeat of its stream is of change {there}, and no event up to that came after `{after}`")]
    Behind { there: u64, after: Cursor },
    #[error("an event of its stream cannot be read")]
    Event(#[source] EventError),
    #[error("its stream sent {EVENTS_MAX} events and no heartbeat")]
    NoHeartbeat,
    #[error(
        "after the id `{UNKNOWN}`, which it cannot know, its stream begins with `{found}`: it must be `reset`, or a host \
         that saw another history is never told"
    )]
    NoReset { found: String },
    #[error(transparent)]
    Cursor(#[from] ParseCursorError),
}

/// Asks the source for what the daemon would ask it for. `None` for a source on this host.
pub(super) async fn ask(settings: &SourceSettings, extent: Extent) -> Result<Option<Contact>, ContactError> {
    let Some(request) = snapshot_of(settings) else { return Ok(None) };
    let mut body = request.send(Some(SNAPSHOT_BOUNDS)).await.map_err(SyncError::from)?;
    let now = Timestamp::now();
    let clock_ahead_s = body.header(&DATE).and_then(seconds).map(|there| now.as_second() - there);
    let (sample, mut whole) = read_snapshot(settings, &mut body, extent).await?;
    if let (Some(whole), SourceKind::Feed(remote)) = (&mut whole, &settings.kind) {
        let (stream, skip) = read_stream(settings, remote, &whole.position).await?;
        whole.skipped.extend(skip);
        expect_reset(remote).await?;
        whole.stream = Some(stream);
    }
    Ok(Some(Contact { clock_ahead_s, sample, whole }))
}

/// Reads the snapshot in `body`, and validates every entry of it.
async fn read_snapshot(
    settings: &SourceSettings,
    body: &mut Body,
    extent: Extent,
) -> Result<(Option<Sample>, Option<WholeContact>), SyncError> {
    let validator = Validator::of(settings);
    let mut lines = SnapshotLines::of(body);
    let (mut sample, mut skipped, mut waiting) = (None, Skips::default(), Vec::new());
    loop {
        let line = lines.next().await?;
        let is_end = line.is_none();
        match line {
            Some(SnapshotLine::Entry(entry)) => waiting.push(entry),
            Some(SnapshotLine::Malformed(error)) => {
                skipped.extend(vec![Skip::new(error.fingerprint, &error)]);
            }
            Some(SnapshotLine::Header(_)) | None => {}
        }
        if is_end || waiting.len() >= VALIDATED_TOGETHER || extent == Extent::FirstEntry {
            for validated in validator.entries(std::mem::take(&mut waiting)) {
                match validated {
                    Ok(entry) if sample.is_none() => sample = Some(Sample::of(settings, &entry)),
                    Ok(_) => {}
                    Err(skip) => skipped.extend(vec![skip]),
                }
            }
        }
        if extent == Extent::FirstEntry && sample.is_some() {
            return Ok((sample, None));
        }
        if is_end {
            break;
        }
    }
    let snapshot = lines.finish()?;
    let position = Position { cursor: snapshot.cursor, chain: snapshot.chain };
    let whole = WholeContact { position, entries: snapshot.entries, skipped, stream: None };
    Ok((sample, (extent == Extent::Whole).then_some(whole)))
}

/// Reads the stream of changes after `position` up to the first heartbeat. Gives how it begins, and what cannot be used of it.
async fn read_stream(
    settings: &SourceSettings,
    remote: &Remote,
    position: &Position,
) -> Result<(String, Vec<Skip>), ContactError> {
    let validator = Validator::of(settings);
    let (mut position, mut changes, mut skipped) = (position.clone(), 0_usize, Vec::new());
    let mut stream = Stream::open(remote, position.id().to_string()).await?;
    while changes < EVENTS_MAX {
        let received = stream.next().await?;
        let here = position.cursor.clone();
        let next = position.chain.as_ref().map(|chain| received.next_chain(chain));
        let Received { id, chain, event, .. } = received;
        match event {
            Ok(Event::Reset) => return Err(ContactError::ResetAgain { after: here }),
            Ok(Event::Heartbeat { sequence } | Event::Checkpoint { sequence, .. }) => {
                if sequence < here.sequence {
                    return Err(HistoryError::OlderHeartbeat { offered: sequence, here }.into());
                }
                if sequence > here.sequence {
                    return Err(ContactError::Behind { there: sequence, after: here });
                }
                let seconds = stream.opened_at.elapsed().as_secs();
                let text = format!("a heartbeat at change `{here}` after {seconds} s and {changes} changes");
                return Ok((text, skipped));
            }
            // A change of something else than keys, as a later version may send it, is counted like any other.
            Ok(Event::Remove(_) | Event::Compromised(_)) | Err(EventError::Unknown) => {}
            Ok(Event::Put(entry)) => skipped.extend(validator.validate(entry).err()),
            Err(error) => return Err(ContactError::Event(error)),
        }
        let Some(id) = id else { return Err(HistoryError::NoId { here }.into()) };
        position = history::next(&position, &EventId { cursor: id, chain }, next)?;
        changes += 1;
    }
    Err(ContactError::NoHeartbeat)
}

/// A host whose history the service does not know must be told so.
async fn expect_reset(remote: &Remote) -> Result<(), ContactError> {
    let received = Stream::open(remote, UNKNOWN.to_owned()).await?.next().await?;
    let found = match received.event {
        Ok(Event::Reset) => return Ok(()),
        Ok(event) => event.kind().as_str().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ContactError::NoReset { found })
}

/// An open stream of changes.
struct Stream {
    body: Body,
    reader: EventReader,
    ready: std::vec::IntoIter<Received>,
    after: String,
    opened_at: Instant,
}

impl Stream {
    async fn open(remote: &Remote, after: String) -> Result<Self, ContactError> {
        let body =
            feed_changes(remote, &after.parse()?).send(None).await.map_err(ContactError::OpenStream)?;
        let (reader, ready) = (EventReader::default(), Vec::new().into_iter());
        Ok(Self { body, reader, ready, after, opened_at: Instant::now() })
    }

    async fn next(&mut self) -> Result<Received, ContactError> {
        let after = || self.after.clone();
        loop {
            if let Some(received) = self.ready.next() {
                return Ok(received);
            }
            let chunk = self.body.chunk().await;
            let chunk = chunk.map_err(|source| ContactError::Silent { after: after(), source })?;
            let Some(chunk) = chunk else { return Err(ContactError::Ended { after: after() }) };
            let mut received = Vec::new();
            let pushed = self.reader.push(&chunk, &mut received);
            pushed.map_err(|source| ContactError::Stream { after: after(), source })?;
            self.ready = received.into_iter();
        }
    }
}

impl Sample {
    fn of(settings: &SourceSettings, entry: &pushkeys_cache::Entry) -> Self {
        Self {
            source: settings.name.to_string(),
            fingerprint: entry.fingerprint.to_string(),
            account: entry.account.to_string(),
            key_id: entry.key_id.to_string(),
        }
    }
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
