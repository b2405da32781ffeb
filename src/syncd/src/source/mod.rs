//! The sources: one task each, which connects, listens, and hands what it hears to the applier. Its errors never leave it.

mod change_stream;
mod directory;
pub(crate) mod error;
mod feed;
pub(crate) mod key_files;
mod poll;
pub(crate) mod requests;
pub(crate) mod run;
mod snapshot;
pub(crate) mod snapshot_lines;
mod snapshot_turns;
pub(crate) mod task;
