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
    #[error("cannot prepare the history in the database `{url}`")]
    Restore { url: DatabaseUrl, source: StoreError },
}

impl Store {
    /// Opens the database at `url`. With [`Open::Prepare`], a new database and a copy made by `backup` get a new epoch.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        open: Open,
        limits: StoreLimits,
    ) -> Result<Self, OpenStoreError> {
        let store = Self::new(Database::open(url, open).await?, limits);
        if open == Open::Prepare {
            let begun = store.prepare_history().await;
            if let Some(epoch) =
                begun.map_err(|source| OpenStoreError::Restore { url: url.clone(), source })?
            {
                tracing::warn!(%url, %epoch, "the database `{url}` is new, was migrated, or is a backup: every host takes a snapshot");
            }
        }
        Ok(store)
    }

    /// `ok`, or the first damage that the database finds.
    pub(crate) async fn check(&self) -> Result<String, StoreError> {
        self.database.check().await.map_err(StoreError::of("look for damage"))
    }
}
