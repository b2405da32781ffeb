//! What the applier's thread does: batches of changes, and new states as a whole.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::status::State;
use pushkeys_cache::{Change, Difference, Held, Stamps, WriteError, Writer};
use pushkeys_keys::Fingerprint;
use tokio::sync::{mpsc, oneshot};

use crate::apply::applier::{BATCH_KIB_MAX, Changes, Outcome, Piece, Work};
use crate::config::must_hold;
use crate::source::{Context, Place};
use crate::status::conflicts::Touched;
use crate::validate::Skips;

/// HEAD is written for the sake of its times alone at most once in a hundredth of `max_stale`, within these.
const TOUCH_INTERVAL_MIN: Duration = Duration::from_secs(1);
const TOUCH_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Owns the writer, and does what waits in the queue.
pub(crate) struct Worker {
    context: Arc<Context>,
    writer: Writer,
    /// While a snapshot is held back, nothing refreshes HEAD and no cursor is kept.
    held: Option<Held>,
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, writer: Writer) -> Self {
        Self { context, writer, held: None }
    }

    /// Works until nobody can hand over more.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Work>) -> Result<(), WriteError> {
        let mut next = None;
        loop {
            let work = match next.take() {
                Some(work) => work,
                None => match queue.blocking_recv() {
                    Some(work) => work,
                    None => return Ok(()),
                },
            };
            self.context.liveness.busy();
            match work {
                Work::Changes(changes) => {
                    let (batch, rest) = gather(changes, &mut queue);
                    next = rest;
                    self.apply(batch)?;
                }
                Work::Contact => self.touch()?,
                Work::Replace { pieces, reply } => self.replace(pieces, reply)?,
            }
            self.context.liveness.idle();
        }
    }

    fn apply(&mut self, batch: Changes) -> Result<(), WriteError> {
        let Some(head) = self.writer.head() else { return Ok(()) };
        let stamps = if self.held.is_some() { head.stamps } else { self.context.stamps() };
        let mut cursor = if self.held.is_some() { None } else { head.cursor.clone() };
        let Changes { numbered, room } = batch;
        let mut changes = Vec::with_capacity(numbered.len());
        for numbered in numbered {
            changes.push(numbered.change);
            if let (None, Some(next)) = (&self.held, numbered.cursor) {
                cursor = Some(self.context.sealed(&next));
            }
        }
        let applied = self.writer.apply(&changes, cursor.as_deref(), stamps)?;
        drop(room);
        if applied != pushkeys_cache::Applied::default() {
            let keys = applied.added + applied.changed + applied.removed;
            self.context.board.changed(&self.context.settings.name, keys, changes.last().map(told));
        }
        tracing::debug!(source = %self.context.settings.name, ?applied, cursor, "changes applied");
        self.context
            .conflicts
            .touched(&self.context.settings.name, Touched::Keys(changes.iter().map(fingerprint).collect()));
        self.in_step();
        Ok(())
    }

    fn touch(&mut self) -> Result<(), WriteError> {
        let Some(head) = self.writer.head() else { return Ok(()) };
        if self.held.is_some() {
            return Ok(());
        }
        let stamps = self.context.stamps();
        let age = stamps.synced_at.duration_since(head.stamps.synced_at);
        let interval = touch_interval(self.context.settings.max_stale);
        // A clock that was set back must not leave an old validity in force.
        if age.is_negative() || age.unsigned_abs() >= interval {
            self.writer.touch(stamps)?;
            self.publish_head();
        }
        self.context.board.state(&self.context.settings.name, State::InStep);
        Ok(())
    }

    fn replace(
        &mut self,
        mut pieces: mpsc::Receiver<Piece>,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<(), WriteError> {
        let mut next = self.writer.begin()?;
        let mut skipped = Skips::default();
        let cursor = loop {
            self.context.liveness.busy();
            match pieces.blocking_recv() {
                // The source has reported why.
                None => return Ok(()),
                Some(Piece::End { cursor }) => break cursor,
                Some(Piece::Entries(judged)) => {
                    let Ok(judged) = judged.blocking_recv() else { return Ok(()) };
                    judged.entries.into_iter().try_for_each(|entry| next.push(entry))?;
                    skipped.extend(judged.skipped);
                }
            }
        };
        let prepared = next.finish()?;
        self.context.liveness.busy();
        // What cannot be read cannot be missed either: the new state heals it.
        let in_force = self.writer.in_force().ok().flatten();
        let difference = prepared.difference(in_force.as_ref())?;
        let outcome = if let Some(held) = self.guard(&difference, prepared.keys())? {
            Outcome::Held(held)
        } else {
            let sealed = cursor.as_deref().map(|cursor| self.context.sealed(cursor));
            self.take(prepared, &difference, sealed.as_deref())?;
            Outcome::Taken(difference)
        };
        self.report(outcome, &skipped);
        // A source that was stopped meanwhile asks for no reply.
        let _ = reply.send(outcome);
        Ok(())
    }

    fn take(
        &mut self,
        prepared: pushkeys_cache::PreparedGeneration,
        difference: &Difference,
        cursor: Option<&str>,
    ) -> Result<(), WriteError> {
        let stamps = self.context.stamps();
        let changed = difference.added + difference.removed + difference.changed;
        if changed == 0 && self.writer.head().is_some() && self.writer.fault().is_none() {
            drop(prepared);
            self.writer.apply(&[], cursor, stamps)?;
        } else {
            self.writer.commit(prepared, cursor, stamps)?;
            let Difference { added, removed, changed: replaced, .. } = difference;
            let what = format!("a snapshot: {added} added, {removed} removed, {replaced} changed");
            self.context.board.changed(&self.context.settings.name, changed, Some(what));
            self.context.conflicts.touched(&self.context.settings.name, Touched::All);
        }
        self.held = None;
        self.writer.release()
    }

    /// Holds the new state back if it removes too much.
    fn guard(&mut self, difference: &Difference, keys_offered: u64) -> Result<Option<Held>, WriteError> {
        let now = Timestamp::now();
        let accepted = self.writer.acceptance(now)?.map(|acceptance| acceptance.removed_max);
        let keys_in_force = difference.removed + difference.changed + difference.kept;
        if !must_hold(self.context.settings.shrink_max, keys_in_force, difference.removed, accepted) {
            return Ok(None);
        }
        let held = Held {
            since: now,
            keys_in_force,
            keys_offered,
            removed: difference.removed,
            added: difference.added,
        };
        // What was accepted was another snapshot, and that word is used up.
        self.writer.release()?;
        self.writer.hold(&held)?;
        self.writer.forget_cursor()?;
        let is_news = self.held.is_none_or(|before| before.removed != held.removed);
        self.held = Some(held);
        if is_news {
            let name = &self.context.settings.name;
            tracing::error!(
                source = %name, keys_in_force, removed = held.removed, added = held.added,
                "`{name}`: a snapshot that removes {} of {keys_in_force} keys is held back; hint: pushkeys accept {name}",
                held.removed
            );
        }
        Ok(Some(held))
    }

    fn report(&self, outcome: Outcome, skipped: &Skips) {
        let Context { board, settings, .. } = &*self.context;
        let name = &settings.name;
        board.skipped_anew(name, skipped);
        match outcome {
            Outcome::Taken(Difference { added, removed, changed, kept }) => {
                board.held(name, None);
                tracing::info!(
                    source = %name, added, removed, changed, kept,
                    "`{name}`: snapshot in force: {added} added, {removed} removed, {changed} changed, {kept} kept"
                );
            }
            Outcome::Held(held) => board.held(name, Some(&held)),
        }
        self.in_step();
    }

    fn in_step(&self) {
        self.publish_head();
        let state = if self.held.is_some() { State::Held } else { State::InStep };
        self.context.board.state(&self.context.settings.name, state);
    }

    pub(crate) fn publish_head(&self) {
        if let Some(head) = self.writer.head() {
            let cursor = head.cursor.as_deref().map(|cursor| unsealed(cursor).1.to_owned());
            self.context.board.head(&self.context.settings.name, head, cursor);
            self.context.applied.notify_one();
        }
    }

    pub(crate) fn place(&self) -> Place {
        let Some(head) = self.writer.head() else { return Place::default() };
        let cursor = head.cursor.as_deref().and_then(|cursor| {
            let (rendering, cursor) = unsealed(cursor);
            (rendering == self.context.rendering).then(|| cursor.to_owned())
        });
        Place { cursor }
    }
}

/// By what the entries were rendered, and the cursor in the source's own words.
fn unsealed(cursor: &str) -> (&str, &str) {
    cursor.split_once(':').unwrap_or_default()
}

/// Adds what else waits, up to the bound of a batch; work of another kind comes back.
fn gather(mut batch: Changes, queue: &mut mpsc::Receiver<Work>) -> (Changes, Option<Work>) {
    while batch.room.num_permits() < BATCH_KIB_MAX {
        match queue.try_recv() {
            Ok(Work::Changes(more)) => {
                batch.numbered.extend(more.numbered);
                batch.room.merge(more.room);
            }
            // A word that the source was heard is implied by what it said.
            Ok(Work::Contact) => {}
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

/// What a change does, in words.
fn told(change: &Change) -> String {
    match change {
        Change::Put(entry) => format!("{} is {} of {}", entry.fingerprint, entry.key_id, entry.account),
        Change::Remove(fingerprint) => format!("{fingerprint} is gone"),
    }
}

fn fingerprint(change: &Change) -> Fingerprint {
    match change {
        Change::Put(entry) => entry.fingerprint,
        Change::Remove(fingerprint) => *fingerprint,
    }
}

fn touch_interval(max_stale: Option<Duration>) -> Duration {
    max_stale.map_or(TOUCH_INTERVAL_MAX, |span| (span / 100).clamp(TOUCH_INTERVAL_MIN, TOUCH_INTERVAL_MAX))
}

impl Context {
    /// In step now, and good until `max_stale` from now.
    fn stamps(&self) -> Stamps {
        let now = Timestamp::now();
        let valid_until =
            self.settings.max_stale.map(|span| now.saturating_add(span).unwrap_or(Timestamp::MAX));
        Stamps { synced_at: now, valid_until }
    }

    /// `cursor` behind what its entries are rendered by: HEAD remembers both or neither.
    fn sealed(&self, cursor: &str) -> String {
        format!("{}:{cursor}", self.rendering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_touched_a_hundred_times_within_its_validity() {
        let check =
            |max_stale, expected| assert_eq!(touch_interval(max_stale), Duration::from_secs(expected));
        check(None, 60);
        check(Some(Duration::from_hours(24)), 60);
        check(Some(Duration::from_mins(10)), 6);
        check(Some(Duration::from_secs(5)), 1);
    }
}
