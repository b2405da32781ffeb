//! `GET /v1/feed/changes`

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::Stream;
use pushkeys_feed::{CHANGES_MEDIA_TYPE, Chain, Epoch, Event, EventId, LAST_EVENT_ID, Position, encode};
use pushkeys_keys::ErrorReport;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::FeedError;
use super::hub::{EncodedChanges, HubMessage, encoded, follows};
use super::state::{Feed, FromConnection, FromFeed};
use super::with::With;
use crate::store::{Changes, HostCredentialNumber, HostId, Store, StoreError};
use crate::tls::PresentedCertificate;

/// Changes per read when a stream catches up. Each stream keeps one read in memory: 30 KiB of Ed25519 keys, so 5,000 slow
/// hosts use 150 MiB.
const MISSED_PER_READ: u32 = 64;

/// Heartbeats between two validations of a certificate, about a minute: one takes a tenth of a millisecond.
const HEARTBEATS_PER_CHECK: u32 = 12;

pub(super) async fn serve(
    State(feed): FromFeed,
    certificate: FromConnection,
    with: With,
    headers: HeaderMap,
) -> Result<Response, FeedError> {
    // Subscribe before reading the database, so that no revocation or change is missed in between.
    let credentials = feed.hub.credentials();
    let messages = feed.hub.messages();
    let epoch = feed.hub.epoch();
    let known = feed.host(&headers, &certificate).await?;
    let host = known.host;
    let state = feed.store.feed_state().await?;
    if *epoch.borrow() != state.head.cursor.epoch {
        // The hub is about to notice the new epoch.
        return Err(FeedError::NewEpoch);
    }
    let told = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let told: Option<EventId> = told.and_then(|text| text.parse().ok());
    let begin = match &told {
        // Without the chain value at its position, a host could not verify the next change.
        Some(id) if id.chain.is_some() || !with.chain => feed.store.resume_position(&state, id).await?,
        _ => None,
    };
    if let (None, Some(id)) = (&begin, &told)
        && feed.store.may_have_lost(&state, id).await?
    {
        begin_epoch(&feed, &host, id, &state.head).await?;
    }
    let head = state.head.id();
    let place = told.as_ref().map(tracing::field::display);
    tracing::info!(%host, %head, told = place, resumes = begin.is_some(), "the stream of `{host}` begins");
    let begins_with_reset = begin.is_none();
    let stream = HostStream {
        replaced: feed.shares.stream(&host),
        host,
        with,
        credential: known.credential,
        certificate: known.certificate,
        heartbeats: 0,
        position: begin.unwrap_or(state.head),
        store: feed.store,
        epoch,
        messages,
        credentials,
        stopping: feed.stopping,
    };
    let headers = [(CONTENT_TYPE, CHANGES_MEDIA_TYPE), (CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    Ok((headers, Body::from_stream(stream.run(begins_with_reset))).into_response())
}

/// Begins a new epoch, if it may, since `host` names a position that the database does not have: it refuses all older snapshots of
/// an epoch that it knows.
async fn begin_epoch(feed: &Feed, host: &HostId, id: &EventId, head: &Position) -> Result<(), StoreError> {
    let head = head.id();
    if !feed.host_epochs.may_begin(host) {
        tracing::error!(%host, told = %id, %head, "the host `{host}` has changes that are not in the database; it has caused a new epoch already");
        return Ok(());
    }
    if feed.store.begin_epoch_for_host(id).await? {
        feed.host_epochs.has_begun(host.clone());
        tracing::error!(%host, told = %id, %head, "the host `{host}` has changes that are not in the database: a new epoch begins, and every host takes a snapshot");
    }
    Ok(())
}

/// By which nginx, and proxies that follow it, pass each event on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One host's stream.
struct HostStream {
    /// Cancelled when the host has begun too many others.
    replaced: CancellationToken,
    host: HostId,
    with: With,
    credential: HostCredentialNumber,
    /// The client certificate, if it is the credential: it expires by itself.
    certificate: Option<PresentedCertificate>,
    /// Heartbeats since the last validation of the certificate.
    heartbeats: u32,
    /// The last change that was sent.
    position: Position,
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
            tracing::info!(host = %self.host, position = %self.position.id(), "the stream of `{}` ends", self.host);
        }
    }

    async fn next(&mut self) -> Step {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Step::End,
            () = self.replaced.cancelled() => Step::End,
            // The host reconnects, and gets a reset if its position is of another epoch.
            _ = self.epoch.changed() => Step::End,
            changed = self.credentials.changed() => {
                if changed.is_err() || !self.is_good() { Step::End } else { Step::Nothing }
            }
            message = self.messages.recv() => match message {
                Ok(HubMessage::Changes(batch)) if batch.last <= self.position.cursor.sequence => Step::Nothing,
                Ok(HubMessage::Changes(batch)) if self.is_followed_by(&batch) => {
                    self.advance(batch.last, batch.after);
                    Step::Send(batch.bytes.bytes(self.with))
                }
                Ok(HubMessage::Heartbeat { .. }) if !self.is_certified() => Step::End,
                Ok(HubMessage::Heartbeat { sequence, .. }) if sequence < self.position.cursor.sequence => {
                    Step::Nothing
                }
                Ok(HubMessage::Heartbeat { sequence, bytes }) if sequence == self.position.cursor.sequence => {
                    Step::Send(bytes.bytes(self.with))
                }
                Ok(_) | Err(RecvError::Lagged(_)) => Step::CatchUp,
                Err(RecvError::Closed) => Step::End,
            }
        }
    }

    fn is_followed_by(&self, batch: &EncodedChanges) -> bool {
        let is_next = batch.first == self.position.cursor.sequence.saturating_add(1);
        is_next && self.position.chain.is_none_or(|chain| chain == batch.before)
    }

    fn advance(&mut self, sequence: u64, chain: Chain) {
        self.position.cursor.sequence = sequence;
        self.position.chain = Some(chain);
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
        if self.stopping.is_cancelled()
            || self.replaced.is_cancelled()
            || self.is_revoked()
            || self.epoch.has_changed().unwrap_or(true)
        {
            return None;
        }
        match self.store.changes_after(self.position.cursor.sequence, MISSED_PER_READ).await {
            Ok(Changes::Next(changes)) => {
                let last = changes.last()?;
                if !follows(&self.position, &changes) {
                    // They are of an epoch that the hub is about to notice.
                    return None;
                }
                self.advance(last.sequence, last.chain);
                Some(encoded(&self.position.cursor.epoch, &changes, self.with))
            }
            Ok(Changes::Pruned) => {
                let head = self.store.feed_state().await.ok()?.head;
                if head.cursor.epoch != self.position.cursor.epoch {
                    return None;
                }
                self.position = head;
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
