//! `GET /v1/feed/changes`

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::Stream;
use pushkeys_feed::{CHANGES_MEDIA_TYPE, Cursor, Epoch, Event, LAST_EVENT_ID, encode};
use pushkeys_keys::ErrorReport;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::FeedError;
use super::hub::{HubMessage, encoded};
use super::state::{FromConnection, FromFeed};
use crate::store::{Changes, FeedState, HostCredentialNumber, HostId, Store};
use crate::tls::PresentedCertificate;

/// Changes per read when a stream catches up. Each stream keeps one read in memory: 30 KiB of Ed25519 keys, so 5,000 slow
/// hosts use 150 MiB.
const MISSED_PER_READ: u32 = 64;

/// Heartbeats between two validations of a certificate, about a minute: one takes a tenth of a millisecond.
const HEARTBEATS_PER_CHECK: u32 = 12;

pub(super) async fn serve(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
) -> Result<Response, FeedError> {
    // Subscribe before reading the database, so that no revocation or change is missed in between.
    let credentials = feed.hub.credentials();
    let messages = feed.hub.messages();
    let epoch = feed.hub.epoch();
    let known = feed.host(&headers, &certificate).await?;
    let host = known.host;
    let state = feed.store.feed_state().await?;
    if *epoch.borrow() != state.head.epoch {
        // The hub is about to notice the new epoch.
        return Err(FeedError::NewEpoch);
    }
    let begin = Begin::of(&headers, &state);
    if let Begin::Ahead = begin {
        let what = format!("the host `{host}` has changes that are not in the database");
        let report = ErrorReport::hinted(&what, "if it was restored, pushkeys-server new-epoch");
        tracing::error!(%host, head = %state.head, "{report}");
    }
    tracing::info!(%host, head = %state.head, ?begin, "the stream of `{host}` begins");
    let stream = HostStream {
        host,
        credential: known.credential,
        certificate: known.certificate,
        heartbeats: 0,
        position: begin.position(&state),
        store: feed.store,
        epoch,
        messages,
        credentials,
        stopping: feed.stopping,
    };
    let headers = [(CONTENT_TYPE, CHANGES_MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream.run(!matches!(begin, Begin::After(_))))).into_response())
}

/// How a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// With the change after this one.
    After(u64),
    /// With a reset, which tells the host to take a snapshot, and then the changes from now on.
    Reset,
    /// The same, for a host with changes that are not in the database.
    Ahead,
}

impl Begin {
    fn of(headers: &HeaderMap, state: &FeedState) -> Self {
        let sent = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
        match sent.and_then(|text| text.parse::<Cursor>().ok()) {
            Some(cursor) if state.can_resume(&cursor) => Self::After(cursor.sequence),
            Some(cursor) if cursor.epoch == state.head.epoch && cursor.sequence > state.head.sequence => {
                Self::Ahead
            }
            _ => Self::Reset,
        }
    }

    fn position(self, state: &FeedState) -> u64 {
        match self {
            Self::After(sequence) => sequence,
            Self::Reset | Self::Ahead => state.head.sequence,
        }
    }
}

/// One host's stream.
struct HostStream {
    host: HostId,
    credential: HostCredentialNumber,
    /// The client certificate, if it is the credential: it expires by itself.
    certificate: Option<PresentedCertificate>,
    /// Heartbeats since the last validation of the certificate.
    heartbeats: u32,
    /// The last change that was sent.
    position: u64,
    store: Store,
    epoch: watch::Receiver<Epoch>,
    messages: broadcast::Receiver<HubMessage>,
    credentials: watch::Receiver<Arc<HashSet<HostCredentialNumber>>>,
    stopping: CancellationToken,
}

/// What a stream does next.
enum Step {
    Send(Bytes),
    /// Read the changes after `position` from the table.
    CatchUp,
    Nothing,
    End,
}

impl HostStream {
    fn run(mut self, begins_with_reset: bool) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream! {
            if begins_with_reset {
                yield Ok(reset());
            }
            let mut step = Step::CatchUp;
            loop {
                match step {
                    Step::Send(bytes) => yield Ok(bytes),
                    Step::CatchUp => {
                        // The next read waits until this one was sent: a slow host uses no more memory.
                        while let Some(bytes) = self.missed().await {
                            yield Ok(bytes);
                        }
                    }
                    Step::Nothing => {}
                    Step::End => break,
                }
                step = self.next().await;
            }
            tracing::info!(host = %self.host, position = self.position, "the stream of `{}` ends", self.host);
        }
    }

    async fn next(&mut self) -> Step {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Step::End,
            // The host reconnects, and gets a reset if its position is of another epoch.
            _ = self.epoch.changed() => Step::End,
            changed = self.credentials.changed() => {
                if changed.is_err() || !self.is_good() { Step::End } else { Step::Nothing }
            }
            message = self.messages.recv() => match message {
                Ok(HubMessage::Changes(batch)) if batch.last <= self.position => Step::Nothing,
                Ok(HubMessage::Changes(batch)) if batch.first == self.position + 1 => {
                    self.position = batch.last;
                    Step::Send(batch.bytes)
                }
                Ok(HubMessage::Heartbeat { .. }) if !self.is_certified() => Step::End,
                Ok(HubMessage::Heartbeat { sequence, bytes }) if sequence <= self.position => Step::Send(bytes),
                Ok(_) | Err(RecvError::Lagged(_)) => Step::CatchUp,
                Err(RecvError::Closed) => Step::End,
            }
        }
    }

    fn is_good(&self) -> bool {
        self.credentials.borrow().contains(&self.credential)
    }

    /// Only a list of credentials newer than this stream counts: an older one may lack a credential that was just added.
    fn is_revoked(&self) -> bool {
        self.credentials.has_changed().unwrap_or(true) && !self.is_good()
    }

    /// Called at each heartbeat: whether the client certificate, if there is one, is still valid.
    fn is_certified(&mut self) -> bool {
        self.heartbeats = (self.heartbeats + 1) % HEARTBEATS_PER_CHECK;
        let Some(certificate) = self.certificate.as_ref().filter(|_| self.heartbeats == 0) else {
            return true;
        };
        match certificate.names() {
            Ok(_) => true,
            Err(refusal) => {
                tracing::warn!(host = %self.host, "the stream of `{}` ends, since its client certificate is no longer valid: {refusal}", self.host);
                false
            }
        }
    }

    /// The next changes from the table; `None` if there are none, or if the stream is about to end.
    async fn missed(&mut self) -> Option<Bytes> {
        if self.stopping.is_cancelled() || self.is_revoked() || self.epoch.has_changed().unwrap_or(true) {
            return None;
        }
        match self.store.changes_after(self.position, MISSED_PER_READ).await {
            Ok(Changes::Next(changes)) => {
                self.position = changes.last()?.sequence;
                Some(encoded(&self.epoch.borrow(), &changes))
            }
            Ok(Changes::Pruned) => {
                self.position = self.store.feed_state().await.ok()?.head.sequence;
                Some(reset())
            }
            Err(error) => {
                // The next message triggers another attempt; until then no heartbeat is sent.
                tracing::error!(host = %self.host, "the stream of `{}` cannot catch up: {}", self.host, ErrorReport::of(&error));
                None
            }
        }
    }
}

fn reset() -> Bytes {
    let mut bytes = Vec::new();
    encode(&Event::Reset, None, &mut bytes);
    bytes.into()
}
