//! The life of the database, by which hosts notice that it was put back to an older state.
//!
//! The numbers of changes go on from there, so that a host of before could take other changes for those it
//! knows. Whoever restores therefore gives the database a new epoch ([`Store::begin_epoch`]), and hosts take a
//! snapshot. Three things are noticed without anybody: what `backup` wrote says so of itself; PostgreSQL's tables
//! know where they were made, and on which timeline; and a replica that has seen a number knows when it is gone.

use pushkeys_feed::{Cursor, Epoch};

use super::columns::{cursor, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, origin, sql};
use crate::secret;

impl Store {
    /// Gives the database a new epoch; every host takes a snapshot. Gives the epoch.
    pub(crate) async fn begin_epoch(&self) -> Result<Epoch, StoreError> {
        let mut transaction = self.begin_write().await?;
        let origin = which_database(&mut transaction).await?;
        let epoch = renew(&mut transaction, &origin).await?;
        self.commit(transaction).await?;
        Ok(epoch)
    }

    /// Gives the database a new epoch if changes up to `seen` are not in it any more. `false`: they are, or somebody
    /// else was faster.
    pub(crate) async fn begin_epoch_if_lost(&self, seen: &Cursor) -> Result<bool, StoreError> {
        // Only with the right to write is it certain that this is not a copy that lags behind.
        let mut transaction = self.begin_write().await?;
        let (epoch, sequence): (String, i64) = sql("SELECT epoch, sequence FROM service")
            .fetch_one(&mut transaction)
            .await
            .map_err(StoreError::of("read where the feed stands"))?;
        if epoch != seen.epoch.to_string() || sequence >= to_sql(seen.sequence) {
            return Ok(false);
        }
        let origin = which_database(&mut transaction).await?;
        renew(&mut transaction, &origin).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Gives the database a new epoch if it was restored since it was served. Gives the epoch then.
    pub(super) async fn begin_epoch_if_restored(&self) -> Result<Option<Epoch>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let now = which_database(&mut transaction).await?;
        let before: String = sql("SELECT origin FROM service")
            .fetch_value(&mut transaction)
            .await
            .map_err(StoreError::of("read where the database was"))?;
        if before == now {
            return Ok(None);
        }
        let epoch = renew(&mut transaction, &now).await?;
        self.commit(transaction).await?;
        Ok(Some(epoch))
    }
}

async fn renew(transaction: &mut Transaction, origin: &str) -> Result<Epoch, StoreError> {
    let epoch = secret::new_epoch()?;
    let row: (String, i64) =
        sql("UPDATE service SET epoch = $1, origin = $2, pruned = sequence RETURNING epoch, sequence")
            .bind(epoch)
            .bind(origin)
            .fetch_one(&mut *transaction)
            .await
            .map_err(StoreError::of("begin a new epoch"))?;
    sql("DELETE FROM changes").execute(transaction).await.map_err(StoreError::of("begin a new epoch"))?;
    Ok(cursor(&row.0, row.1)?.epoch)
}

async fn which_database(transaction: &mut Transaction) -> Result<String, StoreError> {
    origin(transaction).await.map_err(StoreError::of("ask which database this is"))
}
