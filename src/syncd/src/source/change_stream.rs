//! One connection to the stream of changes of a host feed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pushkeys_cache::status::State;
use pushkeys_feed::{Cursor, Event, EventError, EventId, EventReader, Position, Received};
use pushkeys_keys::ErrorReport;

use super::error::SyncError;
use super::requests::feed_changes;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::apply::queue::Told;
use crate::backoff::SourceBackoff;
use crate::config::Remote;
use crate::history::{self, HistoryError};
use crate::remote::http::{Body, client};
use crate::validate::Skip;

/// A service that says this often in a row that it has more than it sends has lost something on the way.
const HEARTBEATS_BEHIND_MAX: u32 = 3;

/// A connection that has gone well for this long has made progress; a service that only begins well is asked ever less often.
const LASTING: Duration = Duration::from_secs(10);

/// Why a stream of changes was left without an error.
pub(super) enum StreamEnd {
    /// The service asks for a snapshot.
    Reset,
    /// The snapshot that was held back is confirmed.
    Confirmed,
    /// There are other credentials to show.
    CredentialsChanged,
}

/// An open stream of changes.
pub(super) struct ChangeStream<'a> {
    task: &'a SourceTask,
    applier: &'a Applier,
    remote: &'a Remote,
    body: Body,
    reader: EventReader,
    /// The last change that was read.
    position: Position,
    has_moved: bool,
    heartbeats_behind: u32,
    /// Whether a heartbeat has said that this is all there is, since the applier was told.
    is_confirmed: bool,
    opened_at: Instant,
}

/// What an event asks for.
enum Step {
    /// A change to apply.
    Change(Told),
    /// Nothing.
    None,
    /// A snapshot.
    Reset,
}

impl<'a> ChangeStream<'a> {
    /// Opens the stream after `position`.
    pub(super) async fn open(
        task: &'a SourceTask,
        applier: &'a Applier,
        remote: &'a Remote,
        position: Position,
    ) -> Result<Self, SyncError> {
        task.uses_new_credentials();
        let body = feed_changes(remote, &position.id()).send(None).await?;
        let reader = EventReader::default();
        Ok(Self {
            task,
            applier,
            remote,
            body,
            reader,
            position,
            has_moved: false,
            heartbeats_behind: 0,
            is_confirmed: false,
            opened_at: Instant::now(),
        })
    }

    /// The last change that was read.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Whether any change has come.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Hands changes to the applier as they come, until the stream is left.
    pub(super) async fn follow(&mut self, backoff: &mut SourceBackoff) -> Result<StreamEnd, SyncError> {
        loop {
            let chunk = tokio::select! {
                chunk = self.body.chunk() => chunk?,
                () = self.applier.stopped() => return Err(ApplyError::Stopped.into()),
                () = self.task.until_confirmed() => return Ok(StreamEnd::Confirmed),
                () = self.task.until_credentials_change() => {
                    if self.can_reconnect() {
                        return Ok(StreamEnd::CredentialsChanged);
                    }
                    continue;
                }
            };
            let Some(chunk) = chunk else { return Err(SyncError::Ended { url: self.body.url().to_owned() }) };
            if self.chunk(&chunk).await? {
                return Ok(StreamEnd::Reset);
            }
            if self.heartbeats_behind == 0 && self.opened_at.elapsed() >= LASTING {
                backoff.reset();
            }
        }
    }

    /// Whether the changed credentials can be used: those that cannot must not end a connection that works.
    fn can_reconnect(&self) -> bool {
        let name = &self.task.settings.name;
        match client(self.remote, false, self.body.url()) {
            Ok(_) => {
                tracing::info!(source = %name, "`{name}`: connecting again, since the credentials have changed");
                true
            }
            Err(error) => {
                let what = ErrorReport::of(&error).to_string();
                tracing::warn!(source = %name, "`{name}`: the changed credentials cannot be used, and the connection goes on: {what}");
                false
            }
        }
    }

    /// Applies the events that end in `chunk`. Returns whether a snapshot is due.
    async fn chunk(&mut self, chunk: &Bytes) -> Result<bool, SyncError> {
        let mut received = Vec::new();
        self.reader.push(chunk, &mut received)?;
        let before = self.here().sequence;
        let mut changes = Vec::with_capacity(received.len());
        let mut end = Ok(false);
        for one in received {
            match self.event(one) {
                Ok(Step::Change(change)) => changes.push(change),
                Ok(Step::None) => continue,
                Ok(Step::Reset) => end = Ok(true),
                Err(error) => end = Err(error),
            }
            if !matches!(end, Ok(false)) {
                break;
            }
        }
        // What came before a refusal was proved, and is not sent again.
        if self.here().sequence != before {
            self.applier.apply(changes, self.position.clone()).await?;
        } else if matches!(end, Ok(false)) && self.is_confirmed {
            self.applier.contact().await?;
        }
        self.is_confirmed = false;
        end
    }

    fn event(&mut self, received: Received) -> Result<Step, SyncError> {
        let next = self.position.chain.as_ref().map(|chain| received.next_chain(chain));
        let Received { id, chain, event, .. } = received;
        match event {
            Ok(Event::Reset) => Ok(Step::Reset),
            Ok(Event::Heartbeat { sequence } | Event::Checkpoint { sequence, .. }) => {
                self.heartbeat(sequence).map(|()| Step::None)
            }
            Err(EventError::Id { source, .. }) => {
                Err(HistoryError::Id { here: self.here().clone(), source }.into())
            }
            change => {
                let Some(id) = id else {
                    return Err(HistoryError::NoId { here: self.here().clone() }.into());
                };
                let id = EventId { cursor: id, chain };
                let position = history::next(&self.position, &id, next)?;
                let step = self.change(change);
                if !matches!(step, Step::Reset) {
                    self.position = position;
                    self.has_moved = true;
                    self.heartbeats_behind = 0;
                }
                Ok(step)
            }
        }
    }

    fn here(&self) -> &Cursor {
        &self.position.cursor
    }

    /// What the change `event` asks for. Of one that cannot be read it is unknown which key it was about, so only a
    /// snapshot brings the cache in sync again.
    fn change(&self, event: Result<Event, EventError>) -> Step {
        let skip = match event {
            Ok(Event::Remove(fingerprint)) => {
                self.task.status.understood(&fingerprint);
                return Step::Change(Told::Removed(fingerprint));
            }
            Ok(Event::Compromised(fingerprint)) => {
                self.task.status.understood(&fingerprint);
                return Step::Change(Told::Compromised(fingerprint));
            }
            Ok(Event::Put(entry)) => match self.task.validator.validate(entry) {
                Ok(entry) => {
                    self.task.status.understood(&entry.fingerprint);
                    return Step::Change(Told::Put(entry));
                }
                Err(skip) => skip,
            },
            Ok(Event::Heartbeat { .. } | Event::Checkpoint { .. } | Event::Reset) => return Step::Reset,
            // A change of something else than keys.
            Err(EventError::Unknown) => return Step::None,
            Err(EventError::Put(error)) => Skip::new(error.fingerprint, &error),
            Err(error @ (EventError::Data { .. } | EventError::Id { .. })) => Skip::new(None, &error),
        };
        self.task.status.skipped(&skip);
        // The key's last registration is no longer what the source says.
        skip.fingerprint.map_or(Step::Reset, |fingerprint| Step::Change(Told::Unusable(fingerprint)))
    }

    fn heartbeat(&mut self, there: u64) -> Result<(), SyncError> {
        let here = self.here().sequence;
        self.task.status.sequence_at_source(there);
        if there < here {
            return Err(HistoryError::OlderHeartbeat { offered: there, here: self.here().clone() }.into());
        }
        if there == here {
            self.heartbeats_behind = 0;
            self.is_confirmed = true;
            return Ok(());
        }
        self.heartbeats_behind += 1;
        if !self.task.cache.is_held() {
            self.task.status.state(State::Behind);
        }
        if self.heartbeats_behind < HEARTBEATS_BEHIND_MAX {
            Ok(())
        } else {
            Err(SyncError::Behind { here, there })
        }
    }
}
