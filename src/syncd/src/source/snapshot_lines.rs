//! The lines of a snapshot as they arrive.

use std::vec;

use pushkeys_feed::{Snapshot, SnapshotLine, SnapshotReader};

use super::error::SyncError;
use crate::remote::http::Body;

/// Reads the snapshot in the body of an answer, one chunk of it in memory at a time.
pub(crate) struct SnapshotLines<'a> {
    body: &'a mut Body,
    reader: SnapshotReader,
    ready: vec::IntoIter<SnapshotLine>,
}

impl<'a> SnapshotLines<'a> {
    pub(crate) fn of(body: &'a mut Body) -> Self {
        Self { body, reader: SnapshotReader::default(), ready: Vec::new().into_iter() }
    }

    /// The next line, or `None` at the end of the body, after which [`SnapshotLines::finish`] tells whether the snapshot is
    /// whole.
    pub(crate) async fn next(&mut self) -> Result<Option<SnapshotLine>, SyncError> {
        loop {
            if let Some(line) = self.ready.next() {
                return Ok(Some(line));
            }
            let Some(chunk) = self.body.chunk().await? else { return Ok(None) };
            let mut lines = Vec::new();
            self.reader.push(&chunk, &mut lines)?;
            self.ready = lines.into_iter();
        }
    }

    /// The snapshot, if all of it came.
    pub(crate) fn finish(self) -> Result<Snapshot, SyncError> {
        Ok(self.reader.finish()?)
    }
}
