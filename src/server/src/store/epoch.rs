//! The epoch of the database, by which hosts detect that an older state was restored.
//!
//! After a restore the numbers of changes continue from the older state, so a host could mistake new changes for those it
//! has. A restored database therefore gets a new epoch ([`Store::begin_epoch`]), and hosts take a snapshot. Three kinds of
//! restore are detected: a copy made by `backup` is marked as one; PostgreSQL's tables know the cluster and timeline in
//! which they were made; and a running replica notices that changes it has seen are gone.

use pushkeys_feed::{Cursor, Epoch};

use super::columns::{cursor, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, origin, sql};
use crate::secret;

impl Store {
    /// Begins a new epoch, so that every host takes a snapshot.
    pub(crate) async fn begin_epoch(&self) -> Result<Epoch, StoreError> {
        let mut transaction = self.begin_write().await?;
        let origin = identity(&mut transaction).await?;
        let epoch = renew(&mut transaction, &origin).await?;
        self.commit(transaction).await?;
        Ok(epoch)
    }

    /// Begins a new epoch if changes up to `seen` are no longer in the database. `false`: they are, or another replica has
    /// begun one.
    pub(crate) async fn begin_epoch_if_lost(&self, seen: &Cursor) -> Result<bool, StoreError> {
        // Only the writer lock makes sure that this is not a lagging replica of the database.
        let mut transaction = self.begin_write().await?;
        let (epoch, sequence): (String, i64) = sql("SELECT epoch, sequence FROM service")
            .fetch_one(&mut transaction)
            .await
            .map_err(StoreError::of("read where the feed stands"))?;
        if epoch != seen.epoch.to_string() || sequence >= to_sql(seen.sequence) {
            return Ok(false);
        }
        let origin = identity(&mut transaction).await?;
        renew(&mut transaction, &origin).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Begins a new epoch if the database was restored since it was last served; returns the epoch then.
    pub(super) async fn begin_epoch_if_restored(&self) -> Result<Option<Epoch>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let now = identity(&mut transaction).await?;
        let before: String = sql("SELECT origin FROM service")
            .fetch_value(&mut transaction)
            .await
            .map_err(StoreError::of("read the identity of the database"))?;
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

async fn identity(transaction: &mut Transaction) -> Result<String, StoreError> {
    origin(transaction).await.map_err(StoreError::of("determine the identity of the database"))
}
