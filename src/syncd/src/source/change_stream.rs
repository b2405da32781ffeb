//! One connection to the stream of changes of a host feed.

use bytes::Bytes;
use pushkeys_cache::Change;
use pushkeys_cache::status::State;
use pushkeys_daemon::Backoff;
use pushkeys_feed::{Cursor, Event, EventError, EventReader, Received};
use pushkeys_keys::ErrorReport;

use super::error::SyncError;
use super::requests::feed_changes;
use super::task::SourceTask;
use crate::apply::applier::Applier;
use crate::apply::error::ApplyError;
use crate::config::Remote;
use crate::remote::http::{Body, client};
use crate::validate::Skip;

/// A service that says this often in a row that it has more than it sends has lost something on the way.
const HEARTBEATS_BEHIND_MAX: u32 = 3;

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
    cursor: Cursor,
    /// Whether a snapshot waits for confirmation meanwhile.
    is_held: bool,
    has_moved: bool,
    heartbeats_behind: u32,
}

/// What an event asks for.
enum Step {
    /// A change to apply.
    Change(Change),
    /// Nothing.
    None,
    /// A snapshot.
    Reset,
}

impl<'a> ChangeStream<'a> {
    /// Opens the stream after `cursor`.
    pub(super) async fn open(
        task: &'a SourceTask,
        applier: &'a Applier,
        remote: &'a Remote,
        cursor: Cursor,
        is_held: bool,
    ) -> Result<Self, SyncError> {
        task.uses_new_credentials();
        let body = feed_changes(remote, &cursor).send(None).await?;
        let reader = EventReader::default();
        Ok(Self {
            task,
            applier,
            remote,
            body,
            reader,
            cursor,
            is_held,
            has_moved: false,
            heartbeats_behind: 0,
        })
    }

    /// The last change that was read.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whether any change has come.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Hands changes to the applier as they come, until the stream is left.
    pub(super) async fn follow(&mut self, backoff: &mut Backoff) -> Result<StreamEnd, SyncError> {
        loop {
            let chunk = tokio::select! {
                chunk = self.body.chunk() => chunk?,
                () = self.applier.stopped() => return Err(ApplyError::Stopped.into()),
                () = self.task.until_confirmed(self.is_held) => return Ok(StreamEnd::Confirmed),
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
            backoff.reset();
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
        let mut changes = Vec::with_capacity(received.len());
        let mut is_reset = false;
        for one in received {
            match self.event(one)? {
                Step::Change(change) => changes.push(change),
                Step::None => {}
                Step::Reset => {
                    is_reset = true;
                    break;
                }
            }
        }
        if !changes.is_empty() {
            self.applier.apply(changes, self.cursor.to_string()).await?;
        } else if !is_reset && self.heartbeats_behind == 0 {
            self.applier.contact().await?;
        }
        Ok(is_reset)
    }

    fn event(&mut self, received: Received) -> Result<Step, SyncError> {
        let change = match received.event {
            Ok(Event::Reset) => return Ok(Step::Reset),
            Ok(Event::Heartbeat { sequence } | Event::Checkpoint { sequence, .. }) => {
                return self.heartbeat(sequence).map(|()| Step::None);
            }
            Ok(Event::Remove(fingerprint) | Event::Compromised(fingerprint)) => Change::Remove(fingerprint),
            Ok(Event::Put(entry)) => {
                let fingerprint = entry.fingerprint;
                match self.task.validator.validate(entry) {
                    Ok(entry) => Change::Put(entry),
                    // The key's last registration is no longer what the source says.
                    Err(skip) => {
                        self.task.status.skipped(&skip);
                        Change::Remove(fingerprint)
                    }
                }
            }
            Err(EventError::Unknown) => return Ok(Step::None),
            Err(error) => match self.unreadable(&error) {
                Some(change) => change,
                None => return Ok(Step::Reset),
            },
        };
        if let Some(id) = received.id {
            self.has_moved = true;
            self.cursor = id;
        }
        self.heartbeats_behind = 0;
        Ok(Step::Change(change))
    }

    /// An entry that cannot be read takes its key away. Of another event it is unknown which key it was about, so only a
    /// snapshot brings the cache in sync again.
    fn unreadable(&self, error: &EventError) -> Option<Change> {
        let fingerprint = match error {
            EventError::Put(entry) => entry.fingerprint,
            EventError::Data { .. } | EventError::Id { .. } | EventError::Unknown => None,
        };
        self.task.status.skipped(&Skip::new(fingerprint, error));
        fingerprint.map(Change::Remove)
    }

    fn heartbeat(&mut self, there: u64) -> Result<(), SyncError> {
        let here = self.cursor.sequence;
        self.task.status.sequence_at_source(there);
        if there <= here {
            self.heartbeats_behind = 0;
            return Ok(());
        }
        self.heartbeats_behind += 1;
        if !self.is_held {
            self.task.status.state(State::Behind);
        }
        if self.heartbeats_behind < HEARTBEATS_BEHIND_MAX {
            Ok(())
        } else {
            Err(SyncError::Behind { here, there })
        }
    }
}
