//! The changes of the feed, and how they are written as server-sent events.

use std::str::FromStr;

use pushkeys_keys::Fingerprint;
use serde::Serialize;

use crate::cursor::Cursor;
use crate::entry::{Entry, append};

/// One change, or a word about the stream itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key is now as the entry says, whatever it was before.
    Put(Entry),
    /// A key is gone.
    Remove(Fingerprint),
    /// Nothing happened, and `sequence` is the last change there was.
    Heartbeat {
        /// The number of the last change.
        sequence: u64,
    },
    /// What the host has cannot be brought up to date by changes: it is to take a snapshot.
    Reset,
}

/// Which of the four an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// [`Event::Put`].
    Put,
    /// [`Event::Remove`].
    Remove,
    /// [`Event::Heartbeat`].
    Heartbeat,
    /// [`Event::Reset`].
    Reset,
}

impl EventKind {
    /// The name in the stream.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Remove => "remove",
            Self::Heartbeat => "heartbeat",
            Self::Reset => "reset",
        }
    }
}

impl FromStr for EventKind {
    /// An event of a later version, to be passed over.
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Put, Self::Remove, Self::Heartbeat, Self::Reset]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or(())
    }
}

impl Event {
    /// Which of the four it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Put(_) => EventKind::Put,
            Self::Remove(_) => EventKind::Remove,
            Self::Heartbeat { .. } => EventKind::Heartbeat,
            Self::Reset => EventKind::Reset,
        }
    }

    /// Appends the event's data, one line of JSON, to `out`: what [`encode_stored`] takes back.
    pub fn append_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(entry) => entry.append_json(out),
            Self::Remove(fingerprint) => {
                append(&WireRemove { fingerprint: fingerprint.to_text().as_str() }, out);
            }
            Self::Heartbeat { sequence } => append(&WireHeartbeat { sequence: *sequence }, out),
            // An event without data is dropped by parsers that follow the standard.
            Self::Reset => out.extend_from_slice(b"{}"),
        }
    }
}

/// Appends `event` to `out` as a server-sent event, with `id` as the place in the stream after it.
pub fn encode(event: &Event, id: Option<&Cursor>, out: &mut Vec<u8>) {
    let mut data = Vec::with_capacity(512);
    event.append_data(&mut data);
    encode_stored(event.kind(), &data, id, out);
}

/// [`encode`] for data that [`Event::append_data`] made earlier.
pub fn encode_stored(kind: EventKind, data: &[u8], id: Option<&Cursor>, out: &mut Vec<u8>) {
    debug_assert!(!data.contains(&b'\n'), "a newline would end the data");
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.to_string().as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[derive(Serialize)]
struct WireRemove<'a> {
    fingerprint: &'a str,
}

#[derive(Serialize)]
struct WireHeartbeat {
    sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_design_says() {
        let check = |event: &Event, id: Option<&str>, expected: &str| {
            let mut out = Vec::new();
            encode(event, id.map(|id| id.parse().unwrap()).as_ref(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let fingerprint = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";
        check(
            &Event::Remove(fingerprint.parse().unwrap()),
            Some("b1946ac9-4712"),
            &format!("id: b1946ac9-4712\nevent: remove\ndata: {{\"fingerprint\":\"{fingerprint}\"}}\n\n"),
        );
        check(&Event::Heartbeat { sequence: 7 }, None, "event: heartbeat\ndata: {\"sequence\":7}\n\n");
        check(&Event::Reset, None, "event: reset\ndata: {}\n\n");
    }
}
