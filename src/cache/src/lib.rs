//! The on-disk cache: text in shards, in which the line that a sysadmin greps is the line that sshd gets.
//!
//! One format ([`Head`], [`Entry`]), one reader ([`Cache`], [`Source`]), one writer ([`Writer`]), and one
//! place that decides what sshd is told ([`Verdict`]). Readers take no lock, write nothing and open no
//! socket; they parse no configuration, and what they cannot trust they refuse instead of guessing.
//!
//! ```text
//! <cache>/SOURCES                which sources count
//! <cache>/REVOKED                what a sysadmin has revoked on this host
//! <cache>/<source>/HEAD          which generation is in force, of when, until when
//! <cache>/<source>/g<N>/<shard>  sorted lines between two sentinels
//! ```

#![forbid(unsafe_code)]

mod batch;
mod checksum;
mod entry;
mod error;
mod files;
mod generation;
mod head;
mod hold;
mod merge;
mod reader;
mod revocation;
mod scan;
mod search;
mod session_log;
mod shard;
mod sources;
#[cfg(feature = "status")]
pub mod status;
mod usage;
mod verdict;
mod writer;

pub use batch::Change;
pub use entry::{ENTRY_LINE_BYTES_MAX, Entry, EntryLine, LOGINS_MAX};
pub use error::{Damage, ReadError, WriteError};
pub use files::CACHE_DIRECTORY;
pub use generation::{Difference, NextGeneration, PreparedGeneration};
pub use head::{CURSOR_BYTES_MAX, Head, NOTES_BYTES_MAX, Stamps};
pub use hold::{Acceptance, Held, accept, held};
pub use merge::Applied;
pub use reader::{Cache, Source};
pub use revocation::{
    REVOCATIONS_MAX, REVOKED_FILE, Revocation, Revocations, Revoked, change_revocations, revocations,
};
pub use scan::{Entries, ShardReport};
pub use session_log::{
    SESSION_LINE_BYTES_MAX, SESSION_LOG, SESSION_LOG_DAYS, SESSION_SOCKET, session_line_account,
};
pub use shard::ShardId;
pub use sources::set_sources;
pub use usage::{ParseUsedError, USAGE_SOCKET, USED_BYTES_MAX, Used};
pub use verdict::{Consultation, Consulted, NoAnswer, Verdict};
pub use writer::{LOCK_FILE, Writer};
