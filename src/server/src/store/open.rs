//! Opening the store.

use thiserror::Error;

use super::error::StoreError;
use super::handle::{Store, StoreLimits};
use crate::database::{Database, DatabaseUrl, Open, OpenError};

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OpenStoreError {
    #[error(transparent)]
    Database(#[from] OpenError),
    /// It is not certain that hosts may go on from where they are.
    #[error("cannot find out whether the database `{url}` was restored")]
    Restore { url: DatabaseUrl, source: StoreError },
}

impl Store {
    /// Opens the database at `url`. One that is prepared gets a new epoch if it was restored since it was served.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        open: Open,
        limits: StoreLimits,
    ) -> Result<Self, OpenStoreError> {
        let store = Self::new(Database::open(url, open).await?, limits);
        if open == Open::Prepare {
            let begun = store.begin_epoch_if_restored().await;
            if let Some(epoch) =
                begun.map_err(|source| OpenStoreError::Restore { url: url.clone(), source })?
            {
                tracing::warn!(%url, %epoch, "the database `{url}` is new or was restored: every host takes a snapshot");
            }
        }
        Ok(store)
    }

    /// `ok`, or the first damage that SQLite finds in itself.
    pub(crate) async fn check(&self) -> Result<String, StoreError> {
        self.database.check().await.map_err(StoreError::of("look for damage"))
    }
}
