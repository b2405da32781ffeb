//! Push hosts.

use std::collections::HashMap;

use jiff::Timestamp;
use pushkeys_keys::Hint;
use thiserror::Error;

use super::columns::{instant, now_ms};
use super::error::{StoreError, is_taken};
use super::handle::Store;
use super::host_credentials::{self, HostCredential, NewHostCredential, count_host_change};
use super::host_names::{HostId, HostName};
use crate::database::sql;
use crate::secret::{self, NewIdError};

/// A host, as operators list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    /// Its credentials, the newest last.
    pub(crate) credentials: Vec<HostCredential>,
}

/// Why a host was not added.
#[derive(Debug, Error)]
pub(crate) enum AddHostError {
    #[error("a host `{name}` exists")]
    Taken {
        name: HostName,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Adds a host that will use `credential`.
    pub(crate) async fn add_host(
        &self,
        name: &HostName,
        credential: NewHostCredential,
    ) -> Result<HostId, AddHostError> {
        let id = secret::random_id("host").map_err(|error| StoreError::from(NewIdError::from(error)))?;
        let mut transaction = self.begin_write().await?;
        let added = sql("INSERT INTO hosts (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(&id)
            .bind(name.as_str())
            .bind(now_ms())
            .execute(&mut transaction)
            .await;
        match added {
            Err(error) if is_taken(&error) => {
                let hint = Hint::new(format!("pushkeys-server host revoke {name}"));
                return Err(AddHostError::Taken { name: name.clone(), hint });
            }
            other => other.map_err(StoreError::of("add a host"))?,
        };
        let id = HostId::of(id);
        host_credentials::add(&mut transaction, &id, credential).await?;
        count_host_change(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// All hosts in the order of their names.
    pub(crate) async fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        let rows: Vec<(String, String, i64)> = sql("SELECT id, name, created_at FROM hosts ORDER BY name")
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list hosts"))?;
        let mut credentials: HashMap<String, Vec<HostCredential>> = HashMap::new();
        for (host, credential) in self.listed_credentials().await? {
            credentials.entry(host).or_default().push(credential);
        }
        rows.into_iter()
            .map(|(id, name, created_at)| {
                let credentials = credentials.remove(&id).unwrap_or_default();
                Ok(Host { id: HostId::of(id), name, created_at: instant(created_at)?, credentials })
            })
            .collect()
    }

    /// Revokes the host's credentials and ends its streams. `false`: there is no such host.
    pub(crate) async fn revoke_host(&self, name: &HostName) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        sql("DELETE FROM receipts WHERE host_id IN (SELECT id FROM hosts WHERE name = $1)")
            .bind(name.as_str())
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("revoke a host"))?;
        let done = sql("DELETE FROM hosts WHERE name = $1")
            .bind(name.as_str())
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("revoke a host"))?;
        if done == 0 {
            return Ok(false);
        }
        count_host_change(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(true)
    }
}
