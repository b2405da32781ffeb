//! All keys at one moment, for hosts that begin anew.

use feed::Cursor;
use sqlx::{Sqlite, Transaction};

use super::changes::cursor;
use super::{Store, StoreError, from_sql};

/// A read transaction that sees the keys as they are at [`Snapshot::cursor`], whatever is written meanwhile.
///
/// While it lives, the write-ahead log cannot be brought into the database: its holder bounds the time.
pub struct Snapshot {
    transaction: Transaction<'static, Sqlite>,
    cursor: Cursor,
    after: Vec<u8>,
}

/// Some entries in the order of their fingerprints.
#[derive(Debug)]
pub struct Page {
    /// JSON objects, each but the last followed by a newline.
    pub entries: String,
    /// How many.
    pub count: u64,
}

impl Store {
    /// Begins a snapshot of now.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut transaction = self.read.begin().await.map_err(StoreError::of("begin a snapshot"))?;
        let (epoch, sequence): (String, i64) = sqlx::query_as("SELECT epoch, sequence FROM service")
            .fetch_one(&mut *transaction)
            .await
            .map_err(StoreError::of("begin a snapshot"))?;
        Ok(Snapshot { transaction, cursor: cursor(&epoch, sequence)?, after: Vec::new() })
    }
}

impl Snapshot {
    /// Which changes the snapshot includes.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next entries, at most `limit`; `None` after the last.
    ///
    /// The database joins the entries itself: a row by row transfer would cost several times as much.
    pub async fn next_page(&mut self, limit: u32) -> Result<Option<Page>, StoreError> {
        let row: (Option<Vec<u8>>, i64, Option<String>) = sqlx::query_as(
            "SELECT max(fingerprint), count(*), group_concat(entry, char(10)) FROM
                 (SELECT fingerprint, entry FROM keys WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2)",
        )
        .bind(self.after.as_slice())
        .bind(limit)
        .fetch_one(&mut *self.transaction)
        .await
        .map_err(StoreError::of("read a snapshot"))?;
        let (Some(last), count, Some(entries)) = row else { return Ok(None) };
        self.after = last;
        Ok(Some(Page { entries, count: from_sql(count)? }))
    }
}
