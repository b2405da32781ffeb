//! A snapshot on its way: read in one task, judged on all cores, written in order by the applier.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pushkeys_feed::{LineSplitter, Snapshot, SnapshotError, SnapshotLine, SnapshotReader};
use tokio::sync::{mpsc, oneshot};

use crate::apply::applier::{Applier, Outcome, Piece, Work};
use crate::remote::http::{Body, Bounds};
use crate::source::Context;
use crate::source::error::SyncError;
use crate::validate::{Judge, Judged, Skip};

/// A snapshot after decompression: ten million RSA keys.
const BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// A snapshot that takes longer is begun anew, since the service may not keep its state for ever.
const DURATION_MAX: Duration = Duration::from_mins(15);
/// How many entries are judged as one piece: some milliseconds of work.
const PIECE_ENTRIES: usize = 512;
/// How many pieces wait for the applier; they bound the memory of a sync.
const PIECES_MAX: usize = 8;

/// The bounds of a snapshot.
pub(crate) const BOUNDS: Bounds = Bounds { bytes_max: BYTES_MAX, duration_max: DURATION_MAX };

/// The way of entries, in their order, through judgement to the applier.
pub(crate) struct Pipeline {
    judge: Arc<Judge>,
    pieces: mpsc::Sender<Piece>,
    outcome: oneshot::Receiver<Outcome>,
    waiting: Vec<pushkeys_feed::Entry>,
    skipped: Vec<Skip>,
}

impl Pipeline {
    /// Begins a new state. Unless it ends with [`Pipeline::end`], nothing happens.
    pub(crate) async fn begin(context: &Context, applier: &Applier) -> Result<Self, SyncError> {
        let (pieces, receiver) = mpsc::channel(PIECES_MAX);
        let (reply, outcome) = oneshot::channel();
        applier.send(Work::Replace { pieces: receiver, reply }).await?;
        let judge = Arc::clone(&context.judge);
        Ok(Self { judge, pieces, outcome, waiting: Vec::with_capacity(PIECE_ENTRIES), skipped: Vec::new() })
    }

    pub(crate) async fn push(&mut self, entry: pushkeys_feed::Entry) -> Result<(), SyncError> {
        self.waiting.push(entry);
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    pub(crate) async fn skip(&mut self, skip: Skip) -> Result<(), SyncError> {
        self.skipped.push(skip);
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Everything came: waits until it is in force, or held back.
    pub(crate) async fn end(mut self, cursor: Option<String>) -> Result<Outcome, SyncError> {
        self.flush().await?;
        self.pieces.send(Piece::End { cursor }).await.map_err(|_| SyncError::Stopped)?;
        self.outcome.await.map_err(|_| SyncError::Stopped)
    }

    fn is_full(&self) -> bool {
        self.waiting.len() + self.skipped.len() >= PIECE_ENTRIES
    }

    async fn flush(&mut self) -> Result<(), SyncError> {
        let entries = std::mem::replace(&mut self.waiting, Vec::with_capacity(PIECE_ENTRIES));
        let mut judged =
            Judged { entries: Vec::with_capacity(entries.len()), skipped: std::mem::take(&mut self.skipped) };
        let (sender, receiver) = oneshot::channel();
        // The place in the queue is taken first, so that no more pieces are judged than may wait.
        let place = self.pieces.reserve().await.map_err(|_| SyncError::Stopped)?;
        let judge = Arc::clone(&self.judge);
        tokio::task::spawn_blocking(move || {
            for entry in judge.entries(entries) {
                match entry {
                    Ok(entry) => judged.entries.push(entry),
                    Err(skip) => judged.skipped.push(skip),
                }
            }
            // An applier that has stopped asks for nothing more.
            let _ = sender.send(judged);
        });
        place.send(Piece::Entries(receiver));
        Ok(())
    }
}

/// Takes the snapshot in `body`. `cursor` makes what HEAD is to remember of it.
pub(crate) async fn take(
    context: &Context,
    applier: &Applier,
    body: &mut Body,
    cursor: impl FnOnce(&Snapshot) -> Option<String>,
) -> Result<(Snapshot, Outcome), SyncError> {
    let mut pipeline = Pipeline::begin(context, applier).await?;
    let (mut reader, mut splitter) = (SnapshotReader::default(), LineSplitter::default());
    let mut lines = Vec::new();
    context.progress.store(0, Ordering::Relaxed);
    while let Some(chunk) = body.chunk().await? {
        splitter.push(&chunk, |line| {
            lines.push(reader.line(line)?);
            Ok::<_, SnapshotError>(())
        })?;
        context.progress.fetch_add(lines.len() as u64, Ordering::Relaxed);
        for line in lines.drain(..) {
            forward(line, &mut pipeline).await?;
        }
    }
    if !splitter.remainder().is_empty() {
        forward(reader.line(splitter.remainder())?, &mut pipeline).await?;
    }
    let snapshot = reader.finish()?;
    let cursor = cursor(&snapshot);
    Ok((snapshot, pipeline.end(cursor).await?))
}

async fn forward(line: SnapshotLine, pipeline: &mut Pipeline) -> Result<(), SyncError> {
    match line {
        SnapshotLine::Entry(entry) => pipeline.push(entry).await,
        SnapshotLine::Malformed(error) => pipeline.skip(Skip::new(error.fingerprint, &error)).await,
        SnapshotLine::Header(_) | SnapshotLine::End { .. } => Ok(()),
    }
}
