//! The wire types of the host feed: the snapshot (NDJSON), the changes (server-sent events), and what hosts report.
//!
//! Server and syncd share this crate, so that one reads what the other writes. It takes bytes and gives
//! values, without I/O and without a clock, and it checks form alone: whether a key may be trusted is
//! decided by [`pushkeys_keys::ValidKey`].

#![forbid(unsafe_code)]

mod chain;
mod cursor;
mod digest;
mod entry;
mod epoch;
mod event;
mod event_reader;
mod lines;
mod protocol;
mod report;
mod snapshot;

pub use chain::{Chain, ChainPrefix, ParseChainError};
pub use cursor::{Cursor, EventId, ParseCursorError, Position};
pub use digest::{KeyDigest, KeySum, ParseKeyDigestError};
pub use entry::{Entry, EntryError, EntryFault};
pub use epoch::{Epoch, ParseEpochError};
pub use event::{Event, EventKind, encode, encode_stored};
pub use event_reader::{EventError, EventReader, Received, StreamError};
pub use lines::LineTooLong;
pub use protocol::{
    APPLIED_PATH, CHANGES_MEDIA_TYPE, CHANGES_PATH, HOST_KEYS_MAX, HOST_KEYS_PATH, LAST_EVENT_ID,
    LINE_BYTES_MAX, LOGINS_MAX, REPORT_BYTES_MAX, REPORT_ITEMS_MAX, REPORT_MEDIA_TYPE, REVOKED_PATH,
    SNAPSHOT_MEDIA_TYPE, SNAPSHOT_PATH, USAGE_PATH, WITH_CHAIN, WITH_PARAMETER,
};
pub use report::{
    HostKeysReply, HostKeysReport, HostRevocation, RevokedAnswer, RevokedReply, RevokedReport, RevokedThing,
    UsageReport, Use,
};
pub use snapshot::{Snapshot, SnapshotError, SnapshotHeader, SnapshotLine, SnapshotReader, SnapshotWriter};
