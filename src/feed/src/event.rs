//! The changes of the feed, and how they are written as server-sent events.

use std::fmt::Display;
use std::str::FromStr;

use pushkeys_keys::Fingerprint;
use serde::Serialize;

use crate::digest::KeySum;
use crate::entry::{Entry, append};

/// One change, or a word about the stream itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key is now as the entry says, whatever it was before.
    Put(Entry),
    /// A key is gone.
    Remove(Fingerprint),
    /// A key is gone, since it may be in the wrong hands: to be obeyed at once, whatever else waits for confirmation. It is
    /// a `remove` that says `"compromised":true`.
    Compromised(Fingerprint),
    /// Nothing happened, and `sequence` is the last change there was.
    Heartbeat {
        /// The number of the last change.
        sequence: u64,
    },
    /// A heartbeat that also says what all keys are after that change.
    Checkpoint {
        /// The number of the last change.
        sequence: u64,
        /// All keys after it.
        sum: KeySum,
    },
    /// What the host has cannot be brought up to date by changes: it is to take a snapshot.
    Reset,
}

/// Which of the four an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// [`Event::Put`].
    Put,
    /// [`Event::Remove`] or [`Event::Compromised`].
    Remove,
    /// [`Event::Heartbeat`] or [`Event::Checkpoint`].
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
            Self::Remove(_) | Self::Compromised(_) => EventKind::Remove,
            Self::Heartbeat { .. } | Self::Checkpoint { .. } => EventKind::Heartbeat,
            Self::Reset => EventKind::Reset,
        }
    }

    /// Appends the event's data, one line of JSON, to `out`: what [`encode_stored`] takes back.
    pub fn append_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(entry) => entry.append_json(out),
            Self::Remove(fingerprint) => append_remove(fingerprint, None, out),
            Self::Compromised(fingerprint) => append_remove(fingerprint, Some(true), out),
            Self::Heartbeat { sequence } => append_heartbeat(*sequence, None, out),
            Self::Checkpoint { sequence, sum } => append_heartbeat(*sequence, Some(sum), out),
            // An event without data is dropped by parsers that follow the standard.
            Self::Reset => out.extend_from_slice(b"{}"),
        }
    }
}

fn append_remove(fingerprint: &Fingerprint, compromised: Option<bool>, out: &mut Vec<u8>) {
    append(&WireRemove { fingerprint: fingerprint.to_text().as_str(), compromised }, out);
}

fn append_heartbeat(sequence: u64, sum: Option<&KeySum>, out: &mut Vec<u8>) {
    let keys = sum.map(|sum| sum.keys);
    append(&WireHeartbeat { sequence, keys, digest: sum.map(|sum| sum.digest.to_string()) }, out);
}

/// Appends `event` to `out` as a server-sent event, with `id`, a [`Cursor`](crate::Cursor) or an [`EventId`](crate::EventId), as the place in the
/// stream after it.
pub fn encode(event: &Event, id: Option<&dyn Display>, out: &mut Vec<u8>) {
    let mut data = Vec::with_capacity(512);
    event.append_data(&mut data);
    encode_stored(event.kind(), &data, id, out);
}

/// [`encode`] for data that [`Event::append_data`] made earlier.
pub fn encode_stored(kind: EventKind, data: &[u8], id: Option<&dyn Display>, out: &mut Vec<u8>) {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    compromised: Option<bool>,
}

#[derive(Serialize)]
struct WireHeartbeat {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_design_says() {
        let check = |event: &Event, id: Option<&str>, expected: &str| {
            let mut out = Vec::new();
            encode(event, id.as_ref().map(|id| id as &dyn Display), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let fingerprint = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";
        check(
            &Event::Remove(fingerprint.parse().unwrap()),
            Some("b1946ac9-4712"),
            &format!("id: b1946ac9-4712\nevent: remove\ndata: {{\"fingerprint\":\"{fingerprint}\"}}\n\n"),
        );
        check(
            &Event::Compromised(fingerprint.parse().unwrap()),
            Some("b1946ac9-4712-0123456789abcdef"),
            &format!(
                "id: b1946ac9-4712-0123456789abcdef\nevent: remove\ndata: {{\"fingerprint\":\"{fingerprint}\",\"compromised\":true}}\n\n"
            ),
        );
        check(&Event::Heartbeat { sequence: 7 }, None, "event: heartbeat\ndata: {\"sequence\":7}\n\n");
        let sum = KeySum { keys: 2, digest: "9d1b95d8833da14db5750f1326d083c9".parse().unwrap() };
        check(
            &Event::Checkpoint { sequence: 7, sum },
            None,
            "event: heartbeat\ndata: {\"sequence\":7,\"keys\":2,\"digest\":\"9d1b95d8833da14db5750f1326d083c9\"}\n\n",
        );
        check(&Event::Reset, None, "event: reset\ndata: {}\n\n");
    }
}
