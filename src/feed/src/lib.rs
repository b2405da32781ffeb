//! The wire types of the host feed: the snapshot (NDJSON), the changes (server-sent events), and what hosts report.
//!
//! Server and syncd share this crate, so that one reads what the other writes. It takes bytes and gives
//! values, without I/O and without a clock, and it judges form alone: whether a key may be trusted is
//! the affair of [`pushkeys_keys::ValidKey`], and a user's names stay the arbitrary text that they are on the wire.

#![forbid(unsafe_code)]

mod cursor;
mod entry;
mod event;
mod event_reader;
mod lines;
mod report;
mod snapshot;

pub use cursor::{Cursor, Epoch, ParseCursorError};
pub use entry::{Entry, EntryError, EntryFault};
pub use event::{Event, EventKind, encode, encode_stored};
pub use event_reader::{EventError, EventReader, Received, StreamError};
pub use lines::{LineSplitter, LineTooLong};
pub use report::{
    HostRevocation, REPORT_BYTES_MAX, REPORT_ITEMS_MAX, REPORT_MEDIA_TYPE, REVOKED_PATH, RevokedAnswer,
    RevokedReply, RevokedReport, RevokedThing, USAGE_PATH, UsageReport, Use,
};
pub use snapshot::{Snapshot, SnapshotError, SnapshotLine, SnapshotReader, SnapshotWriter};

/// The longest line of either stream in bytes, without its newline: the longest key that
/// [`pushkeys_keys::ValidKey`] reads, names of a service that bounds them less than we do, and room for escapes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most logins that one entry may name.
pub const LOGINS_MAX: usize = 16;

/// Where a snapshot is served, below the base URL of the key service.
pub const SNAPSHOT_PATH: &str = "/v1/feed/snapshot";

/// Where changes are served, below the base URL of the key service.
pub const CHANGES_PATH: &str = "/v1/feed/changes";

/// Where a host tells what it has applied, below the base URL of the key service: `{"cursor":"epoch-sequence"}`.
pub const APPLIED_PATH: &str = "/v1/feed/applied";

/// The media type of a snapshot.
pub const SNAPSHOT_MEDIA_TYPE: &str = "application/x-ndjson";

/// The media type of the changes (WHATWG HTML, section 9.2).
pub const CHANGES_MEDIA_TYPE: &str = "text/event-stream";

/// The request header that says after which event a stream is to go on.
pub const LAST_EVENT_ID: &str = "last-event-id";

const _: () = assert!(pushkeys_keys::KEY_TEXT_BYTES_MAX * 2 < LINE_BYTES_MAX, "a line holds the longest key");
