//! A snapshot on its way: read in one task, validated on all cores, written in order by the applier.

use std::sync::Arc;

use pushkeys_feed::{Position, Snapshot, SnapshotLine};

use super::error::SyncError;
use super::snapshot_lines::SnapshotLines;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::new_state::{NewState, Outcome, Place};
use crate::history::HistoryError;
use crate::remote::http::Body;
use crate::validate::{Skip, Validated, Validator};

/// How many entries are validated as one part: some milliseconds of work.
const PART_ENTRIES: usize = 512;

/// Takes the snapshot in `body`. `cursor` makes what HEAD is to remember of it.
pub(super) async fn take(
    task: &SourceTask,
    applier: &Applier,
    body: &mut Body,
    cursor: impl FnOnce(&Snapshot) -> Option<String>,
) -> Result<(Snapshot, Outcome), SyncError> {
    let mut parts = Parts::new(applier.replace().await?, Arc::clone(&task.validator));
    let mut lines = SnapshotLines::of(body);
    task.snapshot_begins();
    while let Some(line) = lines.next().await? {
        task.snapshot_goes_on();
        if let SnapshotLine::Header(header) = &line {
            // The applier asks this again, with all changes applied; here, what would be refused is not read.
            task.cache.check_snapshot(&header.position)?;
        }
        parts.line(line).await?;
    }
    let snapshot = lines.finish()?;
    let place = Place { last: Some(position(&snapshot)), cursor: cursor(&snapshot) };
    let outcome = parts.end(place).await??;
    Ok((snapshot, outcome))
}

/// The change after which the state is as the snapshot says.
pub(super) fn position(snapshot: &Snapshot) -> Position {
    Position { cursor: snapshot.cursor.clone(), chain: snapshot.chain }
}

/// Gathers the lines of a snapshot into parts, and validates each part beside the reading.
struct Parts {
    new_state: NewState,
    validator: Arc<Validator>,
    entries: Vec<pushkeys_feed::Entry>,
    skipped: Vec<Skip>,
}

impl Parts {
    fn new(new_state: NewState, validator: Arc<Validator>) -> Self {
        Self { new_state, validator, entries: Vec::with_capacity(PART_ENTRIES), skipped: Vec::new() }
    }

    async fn line(&mut self, line: SnapshotLine) -> Result<(), ApplyError> {
        match line {
            SnapshotLine::Entry(entry) => self.entries.push(entry),
            SnapshotLine::Malformed(error) => {
                let is_of_last =
                    |last: &mut pushkeys_feed::Entry| error.fingerprint == Some(last.fingerprint);
                self.entries.pop_if(is_of_last);
                self.skipped.push(Skip::new(error.fingerprint, &error));
            }
            SnapshotLine::Header(_) => return Ok(()),
        }
        if self.entries.len() + self.skipped.len() < PART_ENTRIES {
            return Ok(());
        }
        // The line after the last entry may take it back.
        let last = self.entries.pop();
        self.flush().await?;
        self.entries.extend(last);
        Ok(())
    }

    async fn end(mut self, place: Place) -> Result<Result<Outcome, HistoryError>, ApplyError> {
        self.flush().await?;
        self.new_state.end(place).await
    }

    async fn flush(&mut self) -> Result<(), ApplyError> {
        // The queue's bound also bounds how many parts are in validation.
        let part = self.new_state.part().await?;
        let entries = std::mem::replace(&mut self.entries, Vec::with_capacity(PART_ENTRIES));
        let mut validated = Validated {
            entries: Vec::with_capacity(entries.len()),
            skipped: std::mem::take(&mut self.skipped),
        };
        let validator = Arc::clone(&self.validator);
        tokio::task::spawn_blocking(move || {
            validator.entries(entries).into_iter().for_each(|entry| validated.push(entry));
            // An applier that has stopped waits for nothing.
            let _ = part.send(validated);
        });
        Ok(())
    }
}
