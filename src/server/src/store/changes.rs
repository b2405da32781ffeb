//! The numbered changes that hosts follow.

use pushkeys_feed::{Chain, Event, EventKind, KeyDigest, Position};
use pushkeys_keys::{AccountId, Fingerprint, KeyId};

use super::audit::Actor;
use super::columns::{chain, from_sql, to_sql};
use super::error::StoreError;
use super::handle::Store;
use super::history::{self, FeedState, digest_of};
use crate::database::{Transaction, Value, many, sql};

/// Rows in one statement: SQLite allows 32,766 parameters, PostgreSQL 65,535.
const ROWS_PER_STATEMENT: usize = 500;

/// A numbered change to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub(crate) sequence: u64,
    /// [`EventKind::Put`] or [`EventKind::Remove`].
    pub(crate) event: EventKind,
    /// The account that has the key, or had it.
    pub(crate) account: AccountId,
    /// The registration.
    pub(crate) key_id: KeyId,
    pub(crate) fingerprint: Fingerprint,
}

/// A change, as it is sent to hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) sequence: u64,
    /// [`EventKind::Put`] or [`EventKind::Remove`].
    pub(crate) event: EventKind,
    /// The event's data, one line of JSON.
    pub(crate) data: String,
    /// The chain value after the change.
    pub(crate) chain: Chain,
}

/// The changes after a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changes {
    /// In the order of their numbers, without a gap; empty at the end.
    Next(Vec<Change>),
    /// The next change is no longer kept.
    Pruned,
}

impl Store {
    /// The current state of the feed.
    pub(crate) async fn feed_state(&self) -> Result<FeedState, StoreError> {
        FeedState::read(&self.database).await
    }

    /// At most `limit` changes after the number `sequence`.
    pub(crate) async fn changes_after(&self, sequence: u64, limit: u32) -> Result<Changes, StoreError> {
        let rows: Vec<ChangeRow> = sql(
            "SELECT sequence, event, data, chain FROM changes WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(to_sql(sequence))
        .bind(limit)
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("read changes"))?;
        let changes = rows.into_iter().map(change).collect::<Result<Vec<_>, _>>()?;
        match changes.first() {
            Some(first) if first.sequence == sequence + 1 => Ok(Changes::Next(changes)),
            Some(_) => Ok(Changes::Pruned),
            // The end, unless everything after `sequence` was pruned.
            None if self.feed_state().await?.pruned > sequence => Ok(Changes::Pruned),
            None => Ok(Changes::Next(changes)),
        }
    }
}

impl Store {
    /// Numbers the changes, commits `transaction` with them, and logs each. Every change to a key goes through here.
    pub(super) async fn commit_changes(
        &self,
        mut transaction: Transaction,
        numbering: Numbering,
        actor: &Actor,
    ) -> Result<Vec<KeyChange>, StoreError> {
        let seen = self.last_seen.get();
        let (changes, head) =
            numbering.write(&mut transaction, self.limits.changes_max, seen.as_ref()).await?;
        self.commit(transaction).await?;
        if let Some(head) = head {
            self.last_seen.advance(&head);
        }
        for change in &changes {
            log(change, actor);
        }
        Ok(changes)
    }
}

/// The name of a key is not logged.
fn log(change: &KeyChange, actor: &Actor) {
    let KeyChange { sequence, event, account, key_id, fingerprint } = change;
    tracing::info!(
        %account,
        key = %key_id,
        %fingerprint,
        sequence,
        by = actor.via.as_str(),
        address = actor.address.map(tracing::field::display),
        request = actor.request.as_ref().map(tracing::field::display),
        "{}: `{fingerprint}` of `{account}`",
        event.as_str(),
    );
}

type ChangeRow = (i64, String, String, Vec<u8>);

fn change((sequence, event, data, bytes): ChangeRow) -> Result<Change, StoreError> {
    let event = event.parse().map_err(|()| StoreError::malformed("a change"))?;
    Ok(Change { sequence: from_sql(sequence)?, event, data, chain: chain(&bytes)? })
}

/// The changes of a transaction, which are numbered when they are written.
#[derive(Default)]
pub(super) struct Numbering {
    changes: Vec<Unnumbered>,
    added: Vec<KeyDigest>,
    removed: Vec<KeyDigest>,
}

struct Unnumbered {
    event: EventKind,
    account: AccountId,
    key_id: KeyId,
    fingerprint: Fingerprint,
    data: String,
}

/// A row that was taken from the table of keys.
pub(super) struct TakenKey {
    pub(super) key_id: KeyId,
    pub(super) fingerprint: Fingerprint,
    /// What it was in the digest of all keys.
    digest: Option<KeyDigest>,
}

impl TakenKey {
    /// The key in the columns `id`, `fingerprint` and `entry`.
    pub(super) fn of((id, fingerprint, entry): (String, Vec<u8>, String)) -> Result<Self, StoreError> {
        Ok(Self {
            key_id: super::columns::key_id(&id)?,
            fingerprint: super::columns::fingerprint(&fingerprint)?,
            digest: digest_of(&entry),
        })
    }
}

impl Numbering {
    /// Adds that `account` has a key, with its entry in JSON.
    pub(super) fn put(&mut self, account: AccountId, key_id: KeyId, fingerprint: Fingerprint, entry: String) {
        self.added.extend(digest_of(&entry));
        self.changes.push(Unnumbered { event: EventKind::Put, account, key_id, fingerprint, data: entry });
    }

    /// Adds that a key is no longer as `entry` says, which the next [`Numbering::put`] replaces.
    pub(super) fn replace(&mut self, entry: &str) {
        self.removed.extend(digest_of(entry));
    }

    /// Adds that `account` no longer has the key `taken`.
    pub(super) fn remove(&mut self, account: AccountId, taken: TakenKey) {
        let fingerprint = taken.fingerprint;
        self.push_remove(account, taken, &Event::Remove(fingerprint));
    }

    /// Adds that `account` no longer has the key `taken`, since it may be in the wrong hands.
    pub(super) fn remove_compromised(&mut self, account: AccountId, taken: TakenKey) {
        let fingerprint = taken.fingerprint;
        self.push_remove(account, taken, &Event::Compromised(fingerprint));
    }

    fn push_remove(&mut self, account: AccountId, taken: TakenKey, event: &Event) {
        let TakenKey { key_id, fingerprint, digest } = taken;
        let mut data = Vec::new();
        event.append_data(&mut data);
        let data = String::from_utf8_lossy(&data).into_owned();
        self.removed.extend(digest);
        self.changes.push(Unnumbered { event: event.kind(), account, key_id, fingerprint, data });
    }

    /// Numbers and writes the changes, and drops all but the last `changes_max`. Returns the end of the history too, if there was
    /// a change. If the database does not have what this process has `seen`, the changes belong to a new epoch.
    async fn write(
        self,
        transaction: &mut Transaction,
        changes_max: u64,
        seen: Option<&Position>,
    ) -> Result<(Vec<KeyChange>, Option<Position>), StoreError> {
        if self.changes.is_empty() {
            return Ok((Vec::new(), None));
        }
        let FeedState { mut head, mut sum, pruned, .. } = match seen {
            Some(seen) => history::verified(transaction, seen).await?.0,
            None => FeedState::read(&mut *transaction).await?,
        };
        self.added.iter().for_each(|digest| sum.add(*digest));
        self.removed.iter().for_each(|digest| sum.remove(*digest));
        let mut written = Vec::with_capacity(self.changes.len());
        for rows in self.changes.chunks(ROWS_PER_STATEMENT) {
            let mut values = Vec::with_capacity(rows.len());
            for row in rows {
                let chain = head.follow(row.event.as_str().as_bytes(), row.data.as_bytes());
                let sequence = head.cursor.sequence;
                values.push([
                    Value::from(to_sql(sequence)),
                    row.event.as_str().into(),
                    row.data.as_str().into(),
                    chain.map(|chain| chain.as_bytes().to_vec()).into(),
                ]);
                let Unnumbered { event, account, key_id, fingerprint, .. } = row;
                let (account, key_id) = (account.clone(), key_id.clone());
                written.push(KeyChange {
                    sequence,
                    event: *event,
                    account,
                    key_id,
                    fingerprint: *fingerprint,
                });
            }
            many("INSERT INTO changes (sequence, event, data, chain) {rows}", values)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::of("write changes"))?;
        }
        let pruned = pruned.max(head.cursor.sequence.saturating_sub(changes_max));
        history::write_head(transaction, &head, pruned, &sum).await?;
        prune(transaction, pruned).await?;
        Ok((written, Some(head)))
    }
}

async fn prune(transaction: &mut Transaction, pruned: u64) -> Result<(), StoreError> {
    sql("DELETE FROM changes WHERE sequence <= $1")
        .bind(to_sql(pruned))
        .execute(transaction)
        .await
        .map_err(StoreError::of("drop old changes"))?;
    Ok(())
}
