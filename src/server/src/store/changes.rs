//! The numbered changes that hosts follow.

use pushkeys_feed::{Cursor, Event, EventKind};
use pushkeys_keys::{AccountId, Fingerprint, KeyId};

use super::audit::Actor;
use super::columns::{cursor, from_sql, to_sql};
use super::error::StoreError;
use super::handle::Store;
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
}

/// The changes after a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changes {
    /// In the order of their numbers, without a gap; empty at the end.
    Next(Vec<Change>),
    /// The next change is no longer kept.
    Pruned,
}

/// The state of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedState {
    /// The epoch of the database, and the number of the last change.
    pub(crate) head: Cursor,
    /// The number of the last change that is no longer kept; hosts can resume from there.
    pub(crate) pruned: u64,
    /// Grows when hosts or their credentials change.
    pub(crate) hosts_version: u64,
}

impl FeedState {
    /// Whether a host that has everything up to `cursor` can resume there.
    pub(crate) fn can_resume(&self, cursor: &Cursor) -> bool {
        cursor.epoch == self.head.epoch && (self.pruned..=self.head.sequence).contains(&cursor.sequence)
    }
}

impl Store {
    /// The current state of the feed.
    pub(crate) async fn feed_state(&self) -> Result<FeedState, StoreError> {
        let row: (String, i64, i64, i64) = sql("SELECT epoch, sequence, pruned, hosts_version FROM service")
            .fetch_one(&self.database)
            .await
            .map_err(StoreError::of("read the state of the feed"))?;
        let (epoch, sequence, pruned, hosts_version) = row;
        Ok(FeedState {
            head: cursor(&epoch, sequence)?,
            pruned: from_sql(pruned)?,
            hosts_version: from_sql(hosts_version)?,
        })
    }

    /// At most `limit` changes after the number `sequence`.
    pub(crate) async fn changes_after(&self, sequence: u64, limit: u32) -> Result<Changes, StoreError> {
        let rows: Vec<(i64, String, String)> =
            sql("SELECT sequence, event, data FROM changes WHERE sequence > $1 ORDER BY sequence LIMIT $2")
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
        let changes = numbering.write(&mut transaction, self.limits.changes_max).await?;
        self.commit(transaction).await?;
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

fn change((sequence, event, data): (i64, String, String)) -> Result<Change, StoreError> {
    let event = event.parse().map_err(|()| StoreError::malformed("a change"))?;
    Ok(Change { sequence: from_sql(sequence)?, event, data })
}

/// The changes of a transaction, which are numbered when they are written.
#[derive(Default)]
pub(super) struct Numbering {
    changes: Vec<Unnumbered>,
}

struct Unnumbered {
    event: EventKind,
    account: AccountId,
    key_id: KeyId,
    fingerprint: Fingerprint,
    data: String,
}

impl Numbering {
    /// Adds that `account` has a key, with its entry in JSON.
    pub(super) fn put(&mut self, account: AccountId, key_id: KeyId, fingerprint: Fingerprint, entry: String) {
        self.changes.push(Unnumbered { event: EventKind::Put, account, key_id, fingerprint, data: entry });
    }

    /// Adds that `account` no longer has a key.
    pub(super) fn remove(&mut self, account: AccountId, key_id: KeyId, fingerprint: Fingerprint) {
        let mut data = Vec::new();
        Event::Remove(fingerprint).append_data(&mut data);
        let data = String::from_utf8_lossy(&data).into_owned();
        self.changes.push(Unnumbered { event: EventKind::Remove, account, key_id, fingerprint, data });
    }

    /// Numbers and writes the changes, and drops all but the last `changes_max`.
    async fn write(
        self,
        transaction: &mut Transaction,
        changes_max: u64,
    ) -> Result<Vec<KeyChange>, StoreError> {
        if self.changes.is_empty() {
            return Ok(Vec::new());
        }
        let count = self.changes.len() as u64;
        let first = reserve(transaction, count, changes_max).await? + 1;
        let mut written = Vec::with_capacity(self.changes.len());
        for (rows, first) in
            self.changes.chunks(ROWS_PER_STATEMENT).zip((first..).step_by(ROWS_PER_STATEMENT))
        {
            insert(transaction, rows, first).await?;
            written.extend(rows.iter().zip(first..).map(|(row, sequence)| KeyChange {
                sequence,
                event: row.event,
                account: row.account.clone(),
                key_id: row.key_id.clone(),
                fingerprint: row.fingerprint,
            }));
        }
        prune(transaction).await?;
        Ok(written)
    }
}

/// Reserves the next `count` numbers; returns the last one before them.
async fn reserve(transaction: &mut Transaction, count: u64, changes_max: u64) -> Result<u64, StoreError> {
    let last: i64 = sql("UPDATE service SET sequence = sequence + $1,
             pruned = CASE WHEN sequence + $1 - $2 > pruned THEN sequence + $1 - $2 ELSE pruned END
         RETURNING sequence")
    .bind(to_sql(count))
    .bind(to_sql(changes_max))
    .fetch_value(transaction)
    .await
    .map_err(StoreError::of("number a change"))?;
    Ok(from_sql(last)?.saturating_sub(count))
}

async fn insert(transaction: &mut Transaction, rows: &[Unnumbered], first: u64) -> Result<(), StoreError> {
    let values = rows.iter().zip(first..).map(|(row, sequence)| {
        [Value::from(to_sql(sequence)), row.event.as_str().into(), row.data.as_str().into()]
    });
    many("INSERT INTO changes (sequence, event, data) {rows}", values)
        .execute(transaction)
        .await
        .map_err(StoreError::of("write changes"))?;
    Ok(())
}

async fn prune(transaction: &mut Transaction) -> Result<(), StoreError> {
    sql("DELETE FROM changes WHERE sequence <= (SELECT pruned FROM service)")
        .execute(transaction)
        .await
        .map_err(StoreError::of("drop old changes"))?;
    Ok(())
}
