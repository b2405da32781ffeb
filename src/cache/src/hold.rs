//! A snapshot that is held back until a person accepts it.
//!
//! `HELD` in a source's folder says what the snapshot would do; `ACCEPT` is a person's word that it may. Both are
//! text, and neither is ever read by a lookup.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use pushkeys_keys::SourceName;

use crate::error::{Damage, ReadError, WriteError};
use crate::files::Directory;
use crate::head::to_second;
use crate::writer::{ACCEPT_FILE, Writer};

const HELD_FILE: &str = "HELD";
const BYTES_MAX: usize = 1024;

/// A person's word is good for this long: it was said of a snapshot of that hour.
const ACCEPTANCE_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// A snapshot that is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Since when a snapshot has been held back.
    pub since: Timestamp,
    /// How many keys are in force.
    pub keys_in_force: u64,
    /// How many keys the snapshot has.
    pub keys_offered: u64,
    /// How many keys it would remove.
    pub removed: u64,
    /// How many keys it would add.
    pub added: u64,
}

/// What a person has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptance {
    /// A snapshot may remove this many keys.
    pub removed_max: u64,
    /// It must come before this instant.
    pub until: Timestamp,
}

/// The snapshot of the source `name` that is held back, if there is one.
pub fn held(cache: &Path, name: &SourceName) -> Result<Option<Held>, ReadError> {
    let directory = Directory::open_root(cache)?.open_directory(name.as_str())?;
    read_held(&directory)
}

/// Accepts a snapshot of the source `name` that removes no more keys than `held` says.
pub fn accept(
    cache: &Path,
    name: &SourceName,
    held: &Held,
    now: Timestamp,
) -> Result<Acceptance, WriteError> {
    let directory = Directory::open_root(cache)?.open_directory(name.as_str())?;
    let acceptance = Acceptance { removed_max: held.removed, until: to_second(now + ACCEPTANCE_LIFETIME) };
    let text = format!("removed_max={}\nuntil={}\n", acceptance.removed_max, acceptance.until);
    directory.replace(ACCEPT_FILE, text.as_bytes())?;
    Ok(acceptance)
}

impl Writer {
    /// Says that a snapshot is held back. An instant that was said before stays.
    pub fn hold(&mut self, held: &Held) -> Result<(), WriteError> {
        let since = read_held(self.directory()).ok().flatten().map_or(held.since, |before| before.since);
        let Held { keys_in_force, keys_offered, removed, added, .. } = held;
        let text = format!(
            "since={}\nkeys_in_force={keys_in_force}\nkeys_offered={keys_offered}\nremoved={removed}\nadded={added}\n",
            to_second(since)
        );
        self.directory().replace(HELD_FILE, text.as_bytes())
    }

    /// What a person has accepted and is still good at `now`.
    pub fn acceptance(&self, now: Timestamp) -> Result<Option<Acceptance>, ReadError> {
        // The one file here that root may have written in place of the daemon.
        let Some(text) = optional(self.directory().read_word(ACCEPT_FILE, BYTES_MAX))? else {
            return Ok(None);
        };
        let acceptance = (|| {
            let mut lines = text.lines();
            let removed_max = lines.next()?.strip_prefix("removed_max=")?.parse().ok()?;
            let until = lines.next()?.strip_prefix("until=")?.parse().ok()?;
            Some(Acceptance { removed_max, until })
        })();
        let acceptance = acceptance.ok_or_else(|| fields(self.directory(), ACCEPT_FILE))?;
        Ok(Some(acceptance).filter(|acceptance| now < acceptance.until))
    }

    /// Says, durably, that nothing is held back any more. It is said before HEAD is written: a confirmation must not come
    /// back with a power cut and count once more.
    pub fn release(&mut self) -> Result<(), WriteError> {
        self.directory().remove(ACCEPT_FILE)?;
        self.directory().remove(HELD_FILE)?;
        self.directory().sync()
    }

    /// Uses up, durably, what an operator has confirmed, while something is still held back.
    pub fn use_acceptance_up(&mut self) -> Result<(), WriteError> {
        self.directory().remove(ACCEPT_FILE)?;
        self.directory().sync()
    }
}

fn read_held(directory: &Directory) -> Result<Option<Held>, ReadError> {
    let Some(text) = optional(directory.read_word(HELD_FILE, BYTES_MAX))? else { return Ok(None) };
    let held = (|| {
        let mut lines = text.lines();
        Some(Held {
            since: lines.next()?.strip_prefix("since=")?.parse().ok()?,
            keys_in_force: lines.next()?.strip_prefix("keys_in_force=")?.parse().ok()?,
            keys_offered: lines.next()?.strip_prefix("keys_offered=")?.parse().ok()?,
            removed: lines.next()?.strip_prefix("removed=")?.parse().ok()?,
            added: lines.next()?.strip_prefix("added=")?.parse().ok()?,
        })
    })();
    held.map(Some).ok_or_else(|| fields(directory, HELD_FILE))
}

fn optional(text: Result<String, ReadError>) -> Result<Option<String>, ReadError> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(ReadError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn fields(directory: &Directory, name: &str) -> ReadError {
    ReadError::damaged(&directory.path().join(name), Damage::Fields)
}
