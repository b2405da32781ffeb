//! The applier's thread: applies batches of changes, and new states as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use pushkeys_cache::status::State;
use pushkeys_cache::{Change, Difference, Held, PreparedGeneration, WriteError, Writer};
use pushkeys_feed::Position;
use pushkeys_keys::{ErrorReport, Fingerprint};
use tokio::sync::mpsc;

use super::guard::{Newcomers, Singles};
use super::memory::Memory;
use super::new_state::{Outcome, Place, StatePart};
use super::queue::{Batch, Reply, Told, Work};
use super::source_cache::{InForce, SourceCache};
use crate::config::touch_interval;
use crate::history::History;
use crate::status::conflicts::Touched;
use crate::validate::Skips;

/// So many keys of a batch are looked up one by one to see whether they are in force.
const LOOKED_UP_MAX: usize = 1024;
/// So many removals that wait are told apart.
const WAITING_MAX: usize = 1_000_000;

/// Owns the writer, and does what waits in the queue.
pub(super) struct Worker {
    cache: Arc<SourceCache>,
    writer: Writer,
    memory: Memory,
    /// While anything is held back, nothing refreshes HEAD and no cursor is kept.
    held: Option<Held>,
    /// Whether a daemon before this one held anything back.
    is_held_before: bool,
    /// Whether it is a snapshot.
    is_snapshot_held: bool,
    /// The keys in force whose removal waits for confirmation, up to [`WAITING_MAX`]. Once it is confirmed, a snapshot says
    /// what the source still wants.
    waiting: BTreeSet<Fingerprint>,
    singles: Singles,
    newcomers: Newcomers,
}

impl Worker {
    pub(super) fn new(cache: Arc<SourceCache>, writer: Writer) -> Self {
        let notes = writer.head().and_then(|head| head.notes.as_deref()).unwrap_or_default();
        let memory = Memory::of_notes(notes, &cache.origin);
        let mut worker = Self {
            cache,
            writer,
            memory,
            held: None,
            is_held_before: true,
            is_snapshot_held: false,
            waiting: BTreeSet::new(),
            singles: Singles::new(),
            newcomers: Newcomers::default(),
        };
        // A version that kept no notes has left its place alone.
        if worker.memory.history == History::default()
            && let Some(seen) = worker.resume_position().and_then(|position| position.parse().ok())
        {
            worker.memory.history = History::new(Some(seen));
        }
        worker
    }

    /// Makes HEAD say what `max_stale` says now, so that a change of it counts at once, and during an outage too.
    pub(super) fn renew_validity(&mut self) -> Result<(), WriteError> {
        let Some(head) = self.writer.head() else { return Ok(()) };
        let stamps = self.cache.stamps_of(head.stamps.synced_at);
        // HEAD counts whole seconds. What was synced in a time to come is not known to have been synced at all.
        let second = |until: Option<Timestamp>| until.map(Timestamp::as_second);
        let is_same = second(stamps.valid_until) == second(head.stamps.valid_until);
        if self.writer.fault().is_some() || is_same || head.stamps.synced_at > Timestamp::now() {
            return Ok(());
        }
        let name = &self.cache.name;
        let until =
            stamps.valid_until.map_or_else(|| "for ever".to_owned(), |until| format!("until {until:.0}"));
        tracing::warn!(source = %name, "`{name}`: by `max_stale` as it is now, what is in force is valid {until}");
        self.writer.touch(stamps)
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Work>) -> Result<(), WriteError> {
        let mut next = None;
        while let Some(work) = next.take().or_else(|| queue.blocking_recv()) {
            self.cache.liveness.busy();
            match work {
                Work::Changes(changes) => {
                    let (batch, other) = changes.gather(&mut queue);
                    next = other;
                    self.apply(batch)?;
                }
                Work::Contact => self.touch()?,
                Work::Replace { parts, reply } => self.replace(parts, reply)?,
            }
            self.cache.liveness.idle();
        }
        Ok(())
    }

    fn apply(&mut self, batch: Batch) -> Result<(), WriteError> {
        let Batch { told, room, cursor: last } = batch;
        let changes = self.guard_changes(told)?;
        let Some(head) = self.writer.head() else { return Ok(()) };
        let (cursor, stamps) = match self.held {
            Some(_) => (None, head.stamps),
            None => (Some(self.cache.tagged(&last.cursor.to_string())), self.cache.stamps()),
        };
        self.enter(last)?;
        let applied = self.writer.apply(&changes, cursor.as_deref(), stamps)?;
        drop(room);
        if applied != pushkeys_cache::Applied::default() {
            let keys = applied.added + applied.changed + applied.removed;
            self.cache.status.changed(keys, changes.last().map(in_words));
        }
        tracing::debug!(source = %self.cache.name, ?applied, cursor, "changes applied");
        let touched = Touched::Keys(changes.iter().map(fingerprint).collect());
        self.cache.conflicts.touched(&self.cache.name, touched);
        self.publish();
        Ok(())
    }

    /// The changes that `told` asks for, without the removals that wait for confirmation.
    fn guard_changes(&mut self, told: Vec<Told>) -> Result<Vec<Change>, WriteError> {
        let Some(limit) = self.cache.removal_limit else {
            return Ok(told.into_iter().map(Told::into_change).collect());
        };
        let now = Timestamp::now();
        let keys = self.writer.head().map_or(0, |head| head.keys);
        let mut room = limit.room(keys, self.memory.removals.within_hour(now));
        let Wanted { removals, compromised } = self.wanted(&told, room)?;
        let is_alone = !removals.is_empty() && self.singles.is_alone(removals.len(), Instant::now());
        let mut waits = BTreeSet::new();
        for (fingerprint, is_unusable) in &removals {
            if room > 0 {
                room -= 1;
            } else if *is_unusable || !is_alone || !self.singles.take(Instant::now()) {
                waits.insert(*fingerprint);
                continue;
            }
            self.waiting.remove(fingerprint);
        }
        self.memory.removals.add((removals.len() - waits.len() + compromised.len()) as u64, now);
        self.hold_removals(&waits, keys)?;
        let is_obeyed = |one: &Told| match one {
            Told::Removed(fingerprint) | Told::Unusable(fingerprint) => !waits.contains(fingerprint),
            Told::Put(_) | Told::Compromised(_) => true,
        };
        Ok(told.into_iter().filter(is_obeyed).map(Told::into_change).collect())
    }

    /// Which keys in force `told` takes away; of a key, the last word counts. A word that does not take a key away cancels a
    /// removal of it that waits. Of more than [`LOOKED_UP_MAX`] it is not asked whether they are in force if there is `room`
    /// for all of them.
    fn wanted(&mut self, told: &[Told], room: u64) -> Result<Wanted, WriteError> {
        let Wanted { mut removals, mut compromised } = Wanted::default();
        let now = Instant::now();
        let in_force = if told.len() <= LOOKED_UP_MAX { self.writer.in_force()? } else { None };
        for one in told {
            match one {
                Told::Put(entry) => {
                    if let Some(in_force) = &in_force
                        && !in_force.has(&entry.fingerprint)?
                    {
                        self.newcomers.add(entry.fingerprint, now);
                    }
                    self.waiting.remove(&entry.fingerprint);
                    removals.remove(&entry.fingerprint);
                    compromised.remove(&entry.fingerprint);
                }
                Told::Compromised(fingerprint) => {
                    self.waiting.remove(fingerprint);
                    removals.remove(fingerprint);
                    compromised.insert(*fingerprint);
                }
                Told::Removed(fingerprint) | Told::Unusable(fingerprint) => {
                    if self.newcomers.take(fingerprint, now) {
                        removals.remove(fingerprint);
                        continue;
                    }
                    if !compromised.contains(fingerprint) {
                        removals.insert(*fingerprint, matches!(one, Told::Unusable(_)));
                    }
                }
            }
        }
        let is_many = removals.len() > LOOKED_UP_MAX && removals.len() as u64 <= room;
        if !removals.is_empty() && !is_many {
            let in_force = in_force.map_or_else(|| self.writer.in_force(), |in_force| Ok(Some(in_force)))?;
            for (fingerprint, is_unusable) in std::mem::take(&mut removals) {
                if in_force.as_ref().map_or(Ok(false), |in_force| in_force.has(&fingerprint))? {
                    removals.insert(fingerprint, is_unusable);
                }
            }
        }
        Ok(Wanted { removals, compromised })
    }

    /// Holds the removal of `waits` back, of `keys` in force, and releases what waited if nothing does any more.
    fn hold_removals(&mut self, waits: &BTreeSet<Fingerprint>, keys: u64) -> Result<(), WriteError> {
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend(waits.iter().take(room));
        let removed = self.waiting.len() as u64;
        if self.is_snapshot_held || self.held.map_or(0, |held| held.removed) == removed {
            return Ok(());
        }
        if removed == 0 {
            self.held = None;
            self.cache.status.held(None);
            return self.writer.release();
        }
        let keys_offered = keys.saturating_sub(removed);
        let held = Held { since: Timestamp::now(), keys_in_force: keys, keys_offered, removed, added: 0 };
        self.writer.hold(&held)?;
        self.writer.forget_cursor()?;
        let is_new = self.held.replace(held).is_none();
        self.cache.status.held(Some(held));
        if is_new {
            let name = &self.cache.name;
            let what = format!("`{name}`: removals beyond `shrink_max` within an hour are held back");
            let report = ErrorReport::hinted(&what, &format!("pushkeys accept {name}"));
            tracing::error!(source = %name, keys_in_force = keys, removed, "{report}");
        }
        Ok(())
    }

    /// Goes on at `cursor` in the source's history. What is held back is not in force, and leads into no other epoch.
    fn enter(&mut self, cursor: Position) -> Result<(), WriteError> {
        let Memory { history, .. } = &mut self.memory;
        if self.held.is_none() || history.is_in_epoch_of(&cursor) {
            history.enter(cursor);
        }
        self.writer.set_notes(self.memory.to_notes())
    }

    fn touch(&mut self) -> Result<(), WriteError> {
        let Some(head) = self.writer.head() else { return Ok(()) };
        if self.held.is_some() {
            return Ok(());
        }
        let stamps = self.cache.stamps();
        let age = stamps.synced_at.duration_since(head.stamps.synced_at);
        let interval = touch_interval(self.cache.max_stale);
        // A clock that was set back must not leave an old validity in force.
        if age.is_negative() || age.unsigned_abs() >= interval {
            self.writer.touch(stamps)?;
            self.publish_head();
        }
        self.cache.status.state(State::InStep);
        Ok(())
    }

    fn replace(&mut self, mut parts: mpsc::Receiver<StatePart>, reply: Reply) -> Result<(), WriteError> {
        let mut next = self.writer.begin()?;
        let mut skipped = Skips::default();
        let place = loop {
            // A source that is slow keeps nobody from telling the service manager that this thread is well.
            self.cache.liveness.idle();
            let part = parts.blocking_recv();
            self.cache.liveness.busy();
            match part {
                // The source broke off, and has reported why.
                None => return Ok(()),
                Some(StatePart::End(place)) => break place,
                Some(StatePart::Entries(part)) => {
                    let Ok(part) = part.blocking_recv() else { return Ok(()) };
                    part.entries.into_iter().try_for_each(|entry| next.push(entry))?;
                    skipped.extend(part.skipped);
                }
            }
        };
        let refusal = place.last.as_ref().map(|last| self.memory.history.check_snapshot(last));
        if let Some(Err(refusal)) = refusal {
            // A source that was stopped meanwhile asks for no reply.
            let _ = reply.send(Err(refusal));
            return Ok(());
        }
        let prepared = next.finish()?;
        self.cache.liveness.busy();
        // What cannot be read cannot be compared with: the new state replaces it.
        let in_force = self.writer.in_force().ok().flatten();
        let difference = prepared.difference(in_force.as_ref())?;
        let outcome = if let Some(held) = self.guard(&difference, prepared.keys())? {
            Outcome::Held(held)
        } else {
            self.take(prepared, &difference, place)?;
            Outcome::Taken(difference)
        };
        self.report(outcome, &skipped);
        let _ = reply.send(Ok(outcome));
        Ok(())
    }

    fn take(
        &mut self,
        prepared: PreparedGeneration,
        difference: &Difference,
        place: Place,
    ) -> Result<(), WriteError> {
        if self.held.take().is_some() || self.is_held_before {
            self.writer.release()?;
            self.is_held_before = false;
        }
        self.is_snapshot_held = false;
        self.waiting.clear();
        if let Some(last) = place.last {
            self.memory.history.enter(last);
        }
        self.writer.set_notes(self.memory.to_notes())?;
        let cursor = place.cursor.as_deref().map(|cursor| self.cache.tagged(cursor));
        let cursor = cursor.as_deref();
        let stamps = self.cache.stamps();
        let changed = difference.added + difference.removed + difference.changed;
        if changed == 0 && self.writer.head().is_some() && self.writer.fault().is_none() {
            drop(prepared);
            let head = self.writer.head();
            let is_known = head.is_some_and(|head| {
                head.cursor.as_deref() == cursor && head.notes.as_ref() == Some(&self.memory.to_notes())
            });
            if is_known {
                return self.touch();
            }
            self.writer.apply(&[], cursor, stamps)?;
        } else {
            self.writer.commit(prepared, cursor, stamps)?;
            let Difference { added, removed, changed: replaced, .. } = difference;
            let what = format!("a snapshot: {added} added, {removed} removed, {replaced} changed");
            self.cache.status.changed(changed, Some(what));
            self.cache.conflicts.touched(&self.cache.name, Touched::All);
        }
        Ok(())
    }

    /// Holds the new state back if it removes too much.
    fn guard(&mut self, difference: &Difference, keys_offered: u64) -> Result<Option<Held>, WriteError> {
        let now = Timestamp::now();
        let accepted = self.writer.acceptance(now)?.map(|acceptance| acceptance.removed_max);
        let keys_in_force = difference.removed + difference.changed + difference.kept;
        let before = self.memory.removals.within_hour(now);
        let is_exceeded = |confirmed| {
            let limit = self.cache.removal_limit;
            limit.is_some_and(|limit| limit.is_exceeded(keys_in_force, difference.removed, before, confirmed))
        };
        if !is_exceeded(accepted) {
            if is_exceeded(None) {
                self.memory.removals.clear();
            } else {
                self.memory.removals.add(difference.removed, now);
            }
            return Ok(None);
        }
        let held = Held {
            since: now,
            keys_in_force,
            keys_offered,
            removed: difference.removed,
            added: difference.added,
        };
        if accepted.is_some() {
            // What was confirmed was another snapshot.
            self.writer.use_acceptance_up()?;
        }
        self.writer.hold(&held)?;
        self.writer.forget_cursor()?;
        let is_new = self.held.is_none_or(|before| before.removed != held.removed);
        self.held = Some(held);
        self.is_snapshot_held = true;
        if is_new {
            let name = &self.cache.name;
            let what = format!(
                "`{name}`: a snapshot that removes {} of {keys_in_force} keys is held back",
                held.removed
            );
            let report = ErrorReport::hinted(&what, &format!("pushkeys accept {name}"));
            tracing::error!(
                source = %name, keys_in_force, removed = held.removed, added = held.added,
                "{report}"
            );
        }
        Ok(Some(held))
    }

    fn report(&self, outcome: Outcome, skipped: &Skips) {
        let SourceCache { status, name, .. } = &*self.cache;
        status.all_skipped(skipped);
        match outcome {
            Outcome::Taken(Difference { added, removed, changed, kept }) => {
                status.held(None);
                let what = format!(
                    "`{name}`: snapshot in force: {added} added, {removed} removed, {changed} changed, {kept} kept"
                );
                if added + removed + changed == 0 {
                    tracing::debug!(source = %name, kept, "{what}");
                } else {
                    tracing::info!(source = %name, added, removed, changed, kept, "{what}");
                }
            }
            Outcome::Held(held) => status.held(Some(held)),
        }
        self.publish();
    }

    fn publish(&self) {
        self.publish_head();
        self.cache.status.state(if self.held.is_some() { State::Held } else { State::InStep });
    }

    pub(super) fn publish_head(&self) {
        let Some(head) = self.writer.head() else { return };
        let cursor = head.cursor.as_deref().map(|tagged| SourceCache::untagged(tagged).to_owned());
        self.cache.status.head(head, cursor.clone());
        let history = self.memory.history.clone();
        let is_held = self.held.is_some();
        self.cache.in_force.send_replace(Some(InForce { cursor, is_held, history }));
    }

    /// The cursor after which the source's changes continue what is in force.
    pub(super) fn resume_position(&self) -> Option<String> {
        if self.writer.fault().is_some() {
            return None;
        }
        let cursor = self.cache.resumable(self.writer.head()?.cursor.as_deref()?)?;
        let position = self.memory.history.at(cursor).map(Position::to_string);
        Some(position.unwrap_or_else(|| cursor.to_owned()))
    }
}

/// The keys in force that a batch takes away.
#[derive(Default)]
struct Wanted {
    /// Those of which too many wait, each with whether it is still registered, in a way that cannot be used.
    removals: BTreeMap<Fingerprint, bool>,
    /// Those that are to go at once.
    compromised: BTreeSet<Fingerprint>,
}

/// What a change does.
fn in_words(change: &Change) -> String {
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
