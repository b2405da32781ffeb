//! Server-sent events out of chunks (WHATWG HTML, section 9.2), bounded.

use serde::Deserialize;
use thiserror::Error;

use crate::chain::{Chain, ChainPrefix};
use crate::cursor::{Cursor, EventId, ParseCursorError};
use crate::entry::{Entry, EntryError, EntryFault, Text, class, key_sum};
use crate::epoch::ParseEpochError;
use crate::event::{Event, EventKind};
use crate::lines::{LineSplitter, LineTooLong};
use crate::protocol::LINE_BYTES_MAX;

/// Reads events from chunks that are cut anywhere. Comments and fields that this version does not know are passed over, and
/// events likewise if they have no id; a line ends with `\n` or `\r\n`.
#[derive(Debug, Default)]
pub struct EventReader {
    lines: LineSplitter,
    pending: Pending,
}

/// One event of the stream.
#[derive(Debug)]
pub struct Received {
    /// The place in the stream after this event, where it has one.
    pub id: Option<Cursor>,
    /// The chain value after this event as its id has it; `None` of a service without a chain.
    pub chain: Option<ChainPrefix>,
    /// What it says.
    pub event: Result<Event, EventError>,
    name: Vec<u8>,
    data: Vec<u8>,
}

impl Received {
    /// The chain value after this event, if it was `before` before it: to be compared with what the id has of it.
    #[must_use]
    pub fn next_chain(&self, before: &Chain) -> Chain {
        before.next(&self.name, &self.data)
    }
}

/// An event that cannot be read. The stream itself goes on.
#[derive(Debug, Error)]
pub enum EventError {
    /// A `put` whose entry is malformed.
    #[error("a `put` is malformed")]
    Put(#[from] EntryError),
    /// The data of another kind is malformed.
    #[error("a `{kind}` is malformed")]
    Data {
        /// Which kind of event.
        kind: &'static str,
        /// What is wrong.
        source: EntryFault,
    },
    /// Its id is not a cursor, so that a stream could not be resumed after it.
    #[error("the id of a `{kind}` is refused")]
    Id {
        /// Which kind of event.
        kind: &'static str,
        /// What is wrong.
        source: ParseCursorError,
    },
    /// An event with an id, of a kind that this version does not know: a change of something else than keys, which is counted
    /// and otherwise ignored.
    #[error("an event of an unknown kind")]
    Unknown,
}

/// Why the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// Not a stream of ours.
    #[error("the stream of changes is refused")]
    Line(#[from] LineTooLong),
    /// An event of many lines that has no end.
    #[error("an event is longer than {LINE_BYTES_MAX} bytes")]
    EventTooLong,
}

impl EventReader {
    /// Appends the events that end in `chunk` to `received`.
    pub fn push(&mut self, chunk: &[u8], received: &mut Vec<Received>) -> Result<(), StreamError> {
        let Self { lines, pending } = self;
        lines.push(chunk, |line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                received.extend(std::mem::take(pending).dispatch());
                return Ok(());
            }
            pending.field(line)
        })
    }
}

/// The fields of an event whose empty line has not come yet.
#[derive(Debug, Default)]
struct Pending {
    name: Vec<u8>,
    id: Option<Vec<u8>>,
    data: Vec<u8>,
}

impl Pending {
    fn field(&mut self, line: &[u8]) -> Result<(), StreamError> {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => value.clone_into(&mut self.name),
            b"id" => self.id = Some(value.to_vec()),
            b"data" => {
                if self.data.len() + value.len() > LINE_BYTES_MAX {
                    return Err(StreamError::EventTooLong);
                }
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(self) -> Option<Received> {
        let Self { name, id, data } = self;
        let kind = std::str::from_utf8(&name).ok().and_then(|name| name.parse::<EventKind>().ok());
        if kind.is_none() && (id.is_none() || name.is_empty()) {
            return None;
        }
        let (id, event) = match (id.as_deref().map(parse_id).transpose(), kind) {
            (Ok(id), Some(kind)) => (id, parse_data(kind, &data)),
            (Ok(id), None) => (id, Err(EventError::Unknown)),
            (Err(source), kind) => {
                let kind = kind.map_or("change of an unknown kind", EventKind::as_str);
                (None, Err(EventError::Id { kind, source }))
            }
        };
        let (id, chain) = id.map_or((None, None), |id| (Some(id.cursor), id.chain));
        Some(Received { id, chain, event, name, data })
    }
}

fn parse_id(id: &[u8]) -> Result<EventId, ParseCursorError> {
    std::str::from_utf8(id).map_err(|_| ParseEpochError)?.parse()
}

fn parse_data(kind: EventKind, data: &[u8]) -> Result<Event, EventError> {
    match kind {
        EventKind::Put => Ok(Event::Put(Entry::from_json(data)?)),
        EventKind::Remove => {
            let wire: WireRemove<'_> = parse_json(kind, data)?;
            let fingerprint = wire.fingerprint.0.parse().map_err(|source| EventError::Data {
                kind: kind.as_str(),
                source: EntryFault::Fingerprint(source),
            })?;
            let is_compromised = wire.compromised.unwrap_or_default();
            Ok(if is_compromised { Event::Compromised(fingerprint) } else { Event::Remove(fingerprint) })
        }
        EventKind::Heartbeat => {
            let WireHeartbeat { sequence, keys, digest } = parse_json(kind, data)?;
            let sum = key_sum(keys, digest.as_ref().map(|text| text.0.as_ref()));
            let sum = sum.map_err(|source| EventError::Data { kind: kind.as_str(), source })?;
            Ok(sum.map_or(Event::Heartbeat { sequence }, |sum| Event::Checkpoint { sequence, sum }))
        }
        EventKind::Reset => Ok(Event::Reset),
    }
}

fn parse_json<'a, T: Deserialize<'a>>(kind: EventKind, data: &'a [u8]) -> Result<T, EventError> {
    serde_json::from_slice(data).map_err(|error| EventError::Data {
        kind: kind.as_str(),
        source: EntryFault::Json { what: class(&error), column: error.column() },
    })
}

#[derive(Deserialize)]
struct WireRemove<'a> {
    #[serde(borrow)]
    fingerprint: Text<'a>,
    compromised: Option<bool>,
}

#[derive(Deserialize)]
struct WireHeartbeat<'a> {
    sequence: u64,
    keys: Option<u64>,
    #[serde(borrow)]
    digest: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::KeySum;
    use crate::event::encode;
    use proptest::prelude::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    type Read = (Option<Cursor>, Result<Event, String>);

    fn read(chunks: &[&[u8]]) -> Result<Vec<Read>, StreamError> {
        let (mut reader, mut received) = (EventReader::default(), Vec::new());
        for chunk in chunks {
            reader.push(chunk, &mut received)?;
        }
        Ok(received.into_iter().map(|one| (one.id, one.event.map_err(|error| error.to_string()))).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &[Result<Event, &str>]) {
        let events: Vec<_> = read(&[text.as_bytes()]).unwrap().into_iter().map(|(_, event)| event).collect();
        let expected: Vec<_> = expected.iter().cloned().map(|event| event.map_err(str::to_owned)).collect();
        assert_eq!(events, expected, "{text:?}");
    }

    #[test]
    fn what_this_version_does_not_know_is_passed_over() {
        let heartbeat = || Ok(Event::Heartbeat { sequence: 7 });
        check("event: heartbeat\ndata: {\"sequence\":7}\n\n", &[heartbeat()]);
        check("event:heartbeat\r\ndata:{\"sequence\":7}\r\n\r\n", &[heartbeat()]);
        check(
            ": hello\n\nretry: 5\nevent: heartbeat\n: x\ndata: {\"sequence\":\ndata: 7}\n\n",
            &[heartbeat()],
        );
        check("event: party\ndata: x\n\nevent: heartbeat\ndata: {\"sequence\":7}\n\n", &[heartbeat()]);
        check("data: {\"sequence\":7}\n\n", &[]);
        check("id: a-7\ndata: {}\n\n", &[]);
        check("event: heartbeat\ndata: {\"sequence\":7}\n", &[]);
        check("event: reset\n\n", &[Ok(Event::Reset)]);
    }

    #[test]
    fn an_event_that_cannot_be_read_is_reported_and_the_next_one_is_read() {
        let reset = "event: reset\ndata: {}\n\n";
        let faulty = |text: &str, expected: &str| {
            check(&format!("{text}{reset}"), &[Err(expected), Ok(Event::Reset)]);
        };
        faulty("event: put\ndata: {}\n\n", "a `put` is malformed");
        faulty("event: remove\ndata: {\"fingerprint\":\"SHA256:x\"}\n\n", "a `remove` is malformed");
        faulty("event: heartbeat\ndata: {\"sequence\":-1}\n\n", "a `heartbeat` is malformed");
        faulty("event: heartbeat\ndata: {\"sequence\":1,\"keys\":1}\n\n", "a `heartbeat` is malformed");
        faulty(
            "event: heartbeat\ndata: {\"sequence\":1,\"keys\":1,\"digest\":\"x\"}\n\n",
            "a `heartbeat` is malformed",
        );
        faulty("id: x\nevent: reset\ndata: {}\n\n", "the id of a `reset` is refused");
        faulty("id: a-1-x\nevent: put\ndata: {}\n\n", "the id of a `put` is refused");
        faulty("id: a-1\nevent: grant\ndata: {}\n\n", "an event of an unknown kind");
        faulty("id: x\nevent: grant\ndata: {}\n\n", "the id of a `change of an unknown kind` is refused");
    }

    #[test]
    fn events_are_chained_by_their_bytes_whether_they_can_be_read_or_not() {
        let text = "id: b1946ac9-1-a35850b4462a9c10\nevent: put\ndata: {}\n\n\
                    id: b1946ac9-2-1dd402c345388598\nevent: grant\ndata: {\ndata: }\n\n";
        let (mut reader, mut received) = (EventReader::default(), Vec::new());
        reader.push(text.as_bytes(), &mut received).unwrap();
        let mut chain = Chain::start(&"b1946ac9".parse().unwrap());
        for (one, sequence) in received.iter().zip(1..) {
            chain = one.next_chain(&chain);
            assert_eq!(one.chain, Some(chain.prefix()), "{chain}");
            assert_eq!(one.id.as_ref().map(|id| id.sequence), Some(sequence));
        }
        assert_eq!(received.len(), 2);
        assert_eq!(
            chain,
            Chain::start(&"b1946ac9".parse().unwrap()).next(b"put", b"{}").next(b"grant", b"{\n}")
        );
    }

    #[test]
    fn an_event_without_an_end_is_refused_before_it_fills_memory() {
        let line = format!("data: {}\n", "x".repeat(1000));
        assert_eq!(read(&[line.repeat(70).as_bytes()]).unwrap_err(), StreamError::EventTooLong);
        assert!(read(&[line.repeat(60).as_bytes()]).is_ok());
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(read(&[&endless]).unwrap_err(), StreamError::Line(LineTooLong));
    }

    proptest! {
        #[test]
        fn events_read_as_they_were_written_wherever_chunks_are_cut(sequences in proptest::collection::vec(any::<u64>(), 1..5), cut in 0_usize..400) {
            let mut out = Vec::new();
            let mut expected = Vec::new();
            let fingerprint = FINGERPRINT.parse().unwrap();
            for sequence in sequences {
                let id: Cursor = format!("a-{sequence}").parse().unwrap();
                let checkpoint = Event::Checkpoint { sequence, sum: KeySum { keys: sequence, ..KeySum::default() } };
                for event in [Event::Heartbeat { sequence }, checkpoint, Event::Remove(fingerprint), Event::Compromised(fingerprint), Event::Reset] {
                    encode(&event, Some(&id), &mut out);
                    expected.push((Some(id.clone()), Ok(event)));
                }
            }
            let (head, tail) = out.split_at(cut.min(out.len()));
            prop_assert_eq!(read(&[head, tail]).unwrap(), expected);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&[&bytes]);
        }
    }
}
