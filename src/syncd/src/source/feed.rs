//! The host feed of a key service: a snapshot, then its changes, for ever.

use bytes::Bytes;
use futures_util::FutureExt as _;
use pushkeys_cache::Change;
use pushkeys_cache::status::State;
use pushkeys_feed::{
    CHANGES_MEDIA_TYPE, CHANGES_PATH, Cursor, Event, EventError, EventReader, LAST_EVENT_ID, Received,
    SNAPSHOT_MEDIA_TYPE, SNAPSHOT_PATH, Snapshot,
};
use pushkeys_keys::ErrorReport;
use reqwest::header::HeaderName;

use super::{Context, Place, accepted};
use crate::apply::applier::{Applier, Numbered, Outcome, Work};
use crate::backoff::Backoff;
use crate::config::Remote;
use crate::remote::http::{Body, Request, below, client};
use crate::source::error::SyncError;
use crate::validate::Skip;

/// A service that says so often in a row that it has more than it sends has lost something on the way.
const HEARTBEATS_BEHIND_MAX: u32 = 3;

/// Follows the feed until something goes wrong or a new snapshot is due.
pub(super) async fn follow(
    context: &Context,
    applier: &Applier,
    remote: &Remote,
    place: &mut Place,
    backoff: &mut Backoff,
) -> Result<(), SyncError> {
    let mut is_fresh = false;
    let mut is_held = false;
    let mut cursor = place.cursor.as_deref().and_then(|cursor| cursor.parse::<Cursor>().ok());
    loop {
        let at = if let Some(cursor) = cursor.take() {
            cursor
        } else {
            let (snapshot, outcome) = snapshot(context, applier, remote).await?;
            is_fresh = true;
            is_held = matches!(outcome, Outcome::Held(_));
            snapshot.cursor
        };
        // A cursor that HEAD does not have must not outlive this connection.
        place.cursor = (!is_held).then(|| at.to_string());
        let mut changes = Changes::open(context, applier, remote, at, is_held).await?;
        let end = changes.follow(backoff).await;
        place.cursor = (!is_held).then(|| changes.at.to_string());
        match end? {
            End::Reset if is_fresh && !changes.has_moved => {
                place.cursor = None;
                return Err(SyncError::ResetAgain);
            }
            End::Reset | End::Accepted => {}
            End::Renewed => {
                is_fresh = false;
                cursor = Some(changes.at);
                continue;
            }
        }
        place.cursor = None;
    }
}

/// Takes a whole snapshot.
pub(super) async fn snapshot(
    context: &Context,
    applier: &Applier,
    remote: &Remote,
) -> Result<(Snapshot, Outcome), SyncError> {
    context.board.state(&context.settings.name, State::Syncing);
    let mut body = snapshot_request(remote).send(Some(crate::source::snapshot::BOUNDS)).await?;
    let cursor = |snapshot: &Snapshot| Some(snapshot.cursor.to_string());
    crate::source::snapshot::take(context, applier, &mut body, cursor).await
}

/// Asks for a whole snapshot.
pub(super) fn snapshot_request(remote: &Remote) -> Request<'_> {
    Request {
        remote,
        url: below(&remote.url, SNAPSHOT_PATH),
        header: None,
        body: None,
        compressed: !remote.is_loopback(),
        media_type: SNAPSHOT_MEDIA_TYPE,
        media_types_too: &[],
    }
}

/// Why a stream of changes was left without an error.
enum End {
    /// The service asks for a snapshot.
    Reset,
    /// A person has accepted the snapshot that was held back.
    Accepted,
    /// There are other credentials to show.
    Renewed,
}

/// One connection to the stream of changes.
struct Changes<'a> {
    context: &'a Context,
    applier: &'a Applier,
    remote: &'a Remote,
    body: Body,
    reader: EventReader,
    /// The last change that was handed to the applier.
    at: Cursor,
    /// Whether a snapshot waits for a person meanwhile.
    is_held: bool,
    has_moved: bool,
    heartbeats_behind: u32,
}

/// Changes as they came, in their order.
#[derive(Default)]
struct Told {
    changes: Vec<Numbered>,
    /// The registrations among them that are still to be judged, with their places.
    put: Vec<(usize, pushkeys_feed::Entry)>,
}

impl<'a> Changes<'a> {
    async fn open(
        context: &'a Context,
        applier: &'a Applier,
        remote: &'a Remote,
        at: Cursor,
        is_held: bool,
    ) -> Result<Self, SyncError> {
        let request = Request {
            remote,
            url: below(&remote.url, CHANGES_PATH),
            header: Some((HeaderName::from_static(LAST_EVENT_ID), at.to_string())),
            body: None,
            compressed: false,
            media_type: CHANGES_MEDIA_TYPE,
            media_types_too: &[],
        };
        // What changed until now is shown by this connection.
        let _ = context.renewed.notified().now_or_never();
        let body = request.send(None).await?;
        let reader = EventReader::default();
        Ok(Self {
            context,
            applier,
            remote,
            body,
            reader,
            at,
            is_held,
            has_moved: false,
            heartbeats_behind: 0,
        })
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<End, SyncError> {
        loop {
            let chunk = tokio::select! {
                chunk = self.body.chunk() => chunk?,
                () = self.applier.stopped() => return Err(SyncError::Stopped),
                () = accepted(self.context, self.is_held) => return Ok(End::Accepted),
                () = self.context.renewed.notified() => {
                    if self.can_renew() {
                        return Ok(End::Renewed);
                    }
                    continue;
                }
            };
            let Some(chunk) = chunk else { return Err(SyncError::Ended { url: self.body.url().to_owned() }) };
            if let Some(end) = self.chunk(&chunk).await? {
                return Ok(end);
            }
            backoff.reset();
        }
    }

    /// Credentials that are no good must not end a connection that is.
    fn can_renew(&self) -> bool {
        let name = &self.context.settings.name;
        match client(self.remote, false, self.body.url()) {
            Ok(_) => {
                tracing::info!(source = %name, "`{name}`: connecting anew, since the credentials have changed");
                true
            }
            Err(error) => {
                let what = ErrorReport::of(&error).to_string();
                tracing::warn!(source = %name, "`{name}`: the changed credentials cannot be used, and the connection goes on: {what}");
                false
            }
        }
    }

    async fn chunk(&mut self, chunk: &Bytes) -> Result<Option<End>, SyncError> {
        let mut received = Vec::new();
        self.reader.push(chunk, &mut received)?;
        let mut told = Told::default();
        let mut end = None;
        for one in received {
            if self.take(one, &mut told)? {
                end = Some(End::Reset);
                break;
            }
        }
        let changes = self.judged(told);
        let is_in_step = self.heartbeats_behind == 0;
        if !changes.is_empty() {
            self.applier.change(changes).await?;
        } else if is_in_step && end.is_none() {
            self.applier.send(Work::Contact).await?;
        }
        Ok(end)
    }

    /// Adds what `received` changes to `told`. Says whether a snapshot is due.
    fn take(&mut self, received: Received, told: &mut Told) -> Result<bool, SyncError> {
        let change = match received.event {
            Ok(Event::Reset) => return Ok(true),
            Ok(Event::Heartbeat { sequence }) => return self.heartbeat(sequence).map(|()| false),
            Ok(Event::Put(entry)) => {
                // Its place is kept by its removal, which is what becomes of it when it cannot be used.
                let removal = Change::Remove(entry.fingerprint);
                told.put.push((told.changes.len(), entry));
                removal
            }
            Ok(Event::Remove(fingerprint)) => Change::Remove(fingerprint),
            Err(error) => match self.unreadable(&error) {
                Some(change) => change,
                None => return Ok(true),
            },
        };
        if let Some(id) = received.id {
            self.has_moved = true;
            self.at = id;
        }
        self.heartbeats_behind = 0;
        told.changes.push(Numbered { change, cursor: Some(self.at.to_string()) });
        Ok(false)
    }

    /// A registration that cannot be used takes the key away: the old one is no longer what the source says.
    /// Judging here leaves the applier to its files, while the next changes come.
    fn judged(&self, told: Told) -> Vec<Numbered> {
        let Told { mut changes, put } = told;
        let (places, entries): (Vec<_>, Vec<_>) = put.into_iter().unzip();
        for (place, judged) in places.into_iter().zip(self.context.judge.entries(entries)) {
            match judged {
                Ok(entry) => {
                    if let Some(numbered) = changes.get_mut(place) {
                        numbered.change = Change::Put(entry);
                    }
                }
                Err(skip) => self.context.board.skipped(&self.context.settings.name, &skip),
            }
        }
        changes
    }

    /// An entry that cannot be read takes its key away. Whose key another event was about cannot be known, so
    /// only a snapshot brings the cache in step again.
    fn unreadable(&self, error: &EventError) -> Option<Change> {
        let fingerprint = match error {
            EventError::Put(entry) => entry.fingerprint,
            EventError::Data { .. } | EventError::Id { .. } => None,
        };
        self.context.board.skipped(&self.context.settings.name, &Skip::new(fingerprint, error));
        fingerprint.map(Change::Remove)
    }

    fn heartbeat(&mut self, there: u64) -> Result<(), SyncError> {
        let here = self.at.sequence;
        self.context.board.sequence_at_source(&self.context.settings.name, there);
        if there <= here {
            self.heartbeats_behind = 0;
            return Ok(());
        }
        self.heartbeats_behind += 1;
        if !self.is_held {
            self.context.board.state(&self.context.settings.name, State::Behind);
        }
        if self.heartbeats_behind < HEARTBEATS_BEHIND_MAX {
            Ok(())
        } else {
            Err(SyncError::Behind { here, there })
        }
    }
}
