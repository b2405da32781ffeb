//! Snapshots: all keys at one moment, for hosts that begin or have fallen too far behind.

use pushkeys_feed::SnapshotHeader;
use sqlx::{Postgres, Sqlite};

use super::columns::from_sql;
use super::error::StoreError;
use super::handle::Store;
use super::history::FeedState;
use crate::database::{Database, Held, READ_CONNECTIONS, Transaction};

/// The most snapshots at once: each holds a connection and a read transaction.
pub(crate) const SNAPSHOTS_MAX: u32 = 4;

const _: () = assert!(READ_CONNECTIONS > SNAPSHOTS_MAX + 4);

/// A read transaction that sees the keys as they are at [`Snapshot::header`], whatever is written after it.
///
/// While it is open, SQLite's write-ahead log and PostgreSQL's old rows cannot be cleaned up, so the caller limits its
/// time.
pub(crate) struct Snapshot {
    transaction: Transaction,
    header: SnapshotHeader,
    after: Vec<u8>,
}

/// Some entries in the order of their fingerprints.
#[derive(Debug)]
pub(crate) struct SnapshotPage {
    /// JSON objects, each but the last followed by a newline.
    pub(crate) entries: String,
    /// The number of entries.
    pub(crate) count: u64,
}

/// A page and the fingerprint of its last entry.
type Read = (Option<Vec<u8>>, i64, Option<String>);

impl Store {
    /// Begins a snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let begun = self.database.begin_read().await;
        let mut transaction = begun.map_err(StoreError::of("begin a snapshot"))?;
        let FeedState { head, sum, .. } = FeedState::read(&mut transaction).await?;
        let header = SnapshotHeader { position: head, sum: Some(sum) };
        Ok(Snapshot { transaction, header, after: Vec::new() })
    }
}

impl Store {
    /// The length of SQLite's write-ahead log in bytes; PostgreSQL's does not depend on who reads.
    pub(crate) fn log_bytes(&self) -> u64 {
        let Database::Sqlite { read, .. } = &self.database else { return 0 };
        let mut log = read.connect_options().get_filename().as_os_str().to_owned();
        log.push("-wal");
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// Brings the write-ahead log into the database and empties it, as far as nobody reads an old state.
    pub(crate) async fn empty_log(&self) -> Result<(), StoreError> {
        let Database::Sqlite { read, .. } = &self.database else { return Ok(()) };
        let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(read).await;
        emptied.map(drop).map_err(StoreError::of("empty the write-ahead log"))
    }
}

impl Snapshot {
    /// The last change that the snapshot includes.
    pub(crate) fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next entries, at most `limit`; `None` after the last.
    ///
    /// The database concatenates the entries, since transferring them row by row would cost several times as much.
    pub(crate) async fn next_page(&mut self, limit: u32) -> Result<Option<SnapshotPage>, StoreError> {
        let read = match &mut self.transaction {
            Transaction::Sqlite(held) => from_sqlite(held, &self.after, limit).await,
            Transaction::Postgres(held) => from_postgres(held, &self.after, limit).await,
        };
        let (Some(last), count, Some(entries)) = read.map_err(StoreError::of("read a snapshot"))? else {
            return Ok(None);
        };
        self.after = last;
        Ok(Some(SnapshotPage { entries, count: from_sql(count)? }))
    }
}

async fn from_sqlite(held: &mut Held<Sqlite>, after: &[u8], limit: u32) -> sqlx::Result<Read> {
    let query = sqlx::query_as(
        "SELECT max(fingerprint), count(*), group_concat(entry, char(10)) FROM
             (SELECT fingerprint, entry FROM keys WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2)",
    )
    .bind(after)
    .bind(limit);
    let (connection, given_up) = held.connection()?;
    let read = given_up.or_fail(query.fetch_one(connection)).await;
    held.settle(read)
}

/// PostgreSQL before 18 has no `max` of `bytea`.
async fn from_postgres(held: &mut Held<Postgres>, after: &[u8], limit: u32) -> sqlx::Result<Read> {
    let query = sqlx::query_as(
        "SELECT (array_agg(fingerprint ORDER BY fingerprint DESC))[1], count(*),
                string_agg(entry, chr(10) ORDER BY fingerprint) FROM
             (SELECT fingerprint, entry FROM keys WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2) page",
    )
    .bind(after)
    .bind(i64::from(limit));
    let (connection, given_up) = held.connection()?;
    let read = given_up.or_fail(query.fetch_one(connection)).await;
    held.settle(read)
}
