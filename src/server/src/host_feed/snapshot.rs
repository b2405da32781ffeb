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
use pushkeys_feed::{SNAPSHOT_MEDIA_TYPE, SnapshotWriter};
use pushkeys_keys::ErrorReport;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::error::FeedError;
use super::state::{Feed, FromConnection, FromFeed};
use crate::store::{HostId, Snapshot, StoreError};

/// Entries in one page, which is also what is sent at once: some 300 KiB of Ed25519 keys.
const PAGE_ENTRIES: u32 = 1_000;
/// Pages that are read ahead of the host.
const PAGES_AHEAD: usize = 2;
/// How long a snapshot may hold its read transaction: meanwhile the write-ahead log only grows.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_mins(10);
/// How long a host waits for its turn among [`crate::store::SNAPSHOTS_MAX`] before it is sent away.
const TURN_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
) -> Result<Response, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let turn = timeout(TURN_TIME_MAX, feed.snapshots.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(FeedError::TooManySnapshots) };
    let snapshot = feed.store.snapshot().await?;
    let (pieces, received) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(read(snapshot, pieces, host, feed, turn));
    let headers = [(CONTENT_TYPE, SNAPSHOT_MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body(received))).into_response())
}

/// What the reader hands to the body.
enum Piece {
    Bytes(Bytes),
    /// Nothing is missing.
    End,
}

/// Ends with an error when the reader gave up, so that HTTP, too, says that something is missing.
fn body(mut pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = io::Result<Bytes>> {
    stream! {
        loop {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => yield Ok(bytes),
                Some(Piece::End) => break,
                None => {
                    yield Err(io::Error::other("the snapshot was cut short"));
                    break;
                }
            }
        }
    }
}

/// Why a snapshot was cut short.
#[derive(Debug, Error)]
enum CutShort {
    #[error("the host went away")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads in a task of its own, whose time is bounded even while the host takes nothing.
async fn read(
    snapshot: Snapshot,
    pieces: mpsc::Sender<Piece>,
    host: HostId,
    feed: Feed,
    _turn: OwnedSemaphorePermit,
) {
    let cursor = snapshot.cursor().clone();
    tracing::info!(%host, %cursor, "the snapshot for the host `{host}` begins");
    let sending = timeout(SNAPSHOT_TIME_MAX, send_all(snapshot, &pieces));
    let sent = tokio::select! {
        () = feed.stopping.cancelled() => return,
        sent = sending => sent,
    };
    match sent {
        Ok(Ok(entries)) => tracing::info!(%host, %cursor, entries, "the snapshot for the host `{host}` ends"),
        Ok(Err(error)) => {
            tracing::warn!(%host, %cursor, "the snapshot for the host `{host}` was cut short: {}", ErrorReport::of(&error));
        }
        Err(_) => {
            let limit_s = SNAPSHOT_TIME_MAX.as_secs();
            tracing::warn!(%host, %cursor, limit_s, "the snapshot for the host `{host}` was cut short: it is too slow");
        }
    }
}

async fn send_all(mut snapshot: Snapshot, pieces: &mpsc::Sender<Piece>) -> Result<u64, CutShort> {
    let mut out = Vec::new();
    let mut writer = SnapshotWriter::new(snapshot.cursor(), &mut out);
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

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), CutShort> {
    pieces.send(piece).await.map_err(|_| CutShort::Gone)
}
