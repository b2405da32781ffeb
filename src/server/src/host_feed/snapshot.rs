//! `GET /v1/feed/snapshot`

use std::io;
use std::time::Duration;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::Stream;
use pushkeys_feed::{SNAPSHOT_MEDIA_TYPE, SnapshotHeader, SnapshotWriter};
use pushkeys_keys::ErrorReport;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::error::FeedError;
use super::shares::SnapshotShare;
use super::state::{Feed, FromConnection, FromFeed};
use super::with::With;
use crate::store::{HostId, SNAPSHOTS_MAX, Snapshot, StoreError};

/// Entries per page, and per write: about 300 KiB of Ed25519 keys.
const PAGE_ENTRIES: u32 = 1_000;
/// Pages that are read ahead.
const PAGES_AHEAD: usize = 2;
/// How long a host may take for one page.
const PAGE_TIME_MAX: Duration = Duration::from_secs(15);
/// From this length of SQLite's write-ahead log in bytes, a snapshot waits until the log is emptied, for which no other one
/// may be open; and from the second one, none begins before that.
const LOG_BYTES: u64 = 16 * 1024 * 1024;
const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long a snapshot may hold its read transaction: meanwhile SQLite's write-ahead log only grows.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_mins(10);
/// How long a host waits for one of [`crate::store::SNAPSHOTS_MAX`] slots before it gets status 503.
const TURN_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    State(feed): FromFeed,
    certificate: FromConnection,
    with: With,
    headers: HeaderMap,
) -> Result<Response, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let share = feed.shares.snapshot(&host).await?;
    let turn = turn(&feed).await?;
    let snapshot = feed.store.snapshot().await?;
    let (pieces, received) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(read(snapshot, with, pieces, host, feed, share, turn));
    let headers = [(CONTENT_TYPE, SNAPSHOT_MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body(received))).into_response())
}

/// Waits for one of the slots. If the write-ahead log is long, it waits for all of them and empties the log: snapshots that
/// come later wait behind it, so that there is such a moment.
async fn turn(feed: &Feed) -> Result<OwnedSemaphorePermit, FeedError> {
    let acquire = |slots| timeout(TURN_TIME_MAX, feed.snapshots.clone().acquire_many_owned(slots));
    let length = feed.store.log_bytes();
    if length >= LOG_BYTES
        && let Ok(Ok(mut all)) = acquire(SNAPSHOTS_MAX).await
    {
        feed.store.empty_log().await?;
        return all.split(1).ok_or(FeedError::TooManySnapshots);
    }
    if length >= LOG_BYTES_MAX {
        return Err(FeedError::TooManySnapshots);
    }
    acquire(1).await.ok().and_then(Result::ok).ok_or(FeedError::TooManySnapshots)
}

/// What the reader sends to the body.
enum Piece {
    Bytes(Bytes),
    /// The snapshot is complete.
    End,
}

/// Ends with an error if the reader failed, so that the HTTP response is visibly incomplete too.
fn body(mut pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = io::Result<Bytes>> {
    stream! {
        loop {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => yield Ok(bytes),
                Some(Piece::End) => break,
                None => {
                    yield Err(io::Error::other("the snapshot was aborted"));
                    break;
                }
            }
        }
    }
}

/// Why a snapshot was aborted.
#[derive(Debug, Error)]
enum SnapshotError {
    #[error("the host closed the connection")]
    Disconnected,
    #[error("the host accepted no page for {} s", PAGE_TIME_MAX.as_secs())]
    Stalled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads in its own task, with a time limit even while the host accepts nothing.
async fn read(
    snapshot: Snapshot,
    with: With,
    pieces: mpsc::Sender<Piece>,
    host: HostId,
    feed: Feed,
    share: SnapshotShare,
    _turn: OwnedSemaphorePermit,
) {
    let cursor = snapshot.header().position.id();
    tracing::info!(%host, %cursor, "the snapshot for `{host}` begins");
    let sending = timeout(SNAPSHOT_TIME_MAX, send_all(snapshot, with, &pieces));
    let sent = tokio::select! {
        () = feed.stopping.cancelled() => return,
        () = share.replaced.cancelled() => {
            tracing::info!(%host, %cursor, "the snapshot for `{host}` ends, since it has begun another one");
            return;
        }
        sent = sending => sent,
    };
    match sent {
        Ok(Ok(entries)) => tracing::info!(%host, %cursor, entries, "the snapshot for `{host}` ends"),
        Ok(Err(error)) => {
            tracing::warn!(%host, %cursor, "the snapshot for `{host}` was aborted: {}", ErrorReport::of(&error));
        }
        Err(_) => {
            let limit_s = SNAPSHOT_TIME_MAX.as_secs();
            tracing::warn!(%host, %cursor, limit_s, "the snapshot for `{host}` was aborted: it took longer than {limit_s} s");
        }
    }
}

async fn send_all(
    mut snapshot: Snapshot,
    with: With,
    pieces: &mpsc::Sender<Piece>,
) -> Result<u64, SnapshotError> {
    let mut out = Vec::new();
    let mut writer = SnapshotWriter::with_header(&header(&snapshot, with), &mut out);
    let mut entries = 0;
    while let Some(page) = snapshot.next_page(PAGE_ENTRIES).await? {
        entries += page.count;
        out.reserve_exact(page.entries.len() + 1);
        for entry in page.entries.lines() {
            writer.raw_entry(entry.as_bytes(), &mut out);
        }
        send(pieces, Piece::Bytes(std::mem::take(&mut out).into())).await?;
    }
    drop(snapshot);
    writer.finish(&mut out);
    send(pieces, Piece::Bytes(out.into())).await?;
    send(pieces, Piece::End).await?;
    Ok(entries)
}

/// The header for a host, with what it understands.
fn header(snapshot: &Snapshot, with: With) -> SnapshotHeader {
    let header = snapshot.header();
    if with.chain {
        header.clone()
    } else {
        SnapshotHeader { position: header.position.cursor.clone().into(), sum: None }
    }
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), SnapshotError> {
    let sent = timeout(PAGE_TIME_MAX, pieces.send(piece)).await.map_err(|_| SnapshotError::Stalled)?;
    sent.map_err(|_| SnapshotError::Disconnected)
}
