//! Push hosts.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use thiserror::Error;

use super::host_credentials::{self, HostCredential, NewHostCredential};
use super::sql::{Transaction, sql};
use super::{Store, StoreError, instant, is_taken, now_ms};
use crate::secret::{self, NewIdError};

/// A registered host, opaque: `host_` and 20 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostId(Box<str>);

impl HostId {
    /// The id in a row of the database.
    pub(super) fn of(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a sysadmin calls a host: 1 to 253 of letters, digits, `.`, `_` and `-` (RFC 1035's length of a name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Box<str>);

/// Why a text is not a host's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a host name: expected 1 to 253 of A-Z, a-z, 0-9, `.`, `_` and `-`", pushkeys_keys::escape(.0))]
pub struct ParseHostNameError(String);

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = ParseHostNameError;

    fn from_str(text: &str) -> Result<Self, ParseHostNameError> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=253).contains(&text.len()) && text.bytes().all(is_name_byte) {
            Ok(Self(text.into()))
        } else {
            Err(ParseHostNameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A host, as a sysadmin lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its lasting name in the log.
    pub id: HostId,
    /// What the sysadmin calls it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// By what it is known, the latest last.
    pub credentials: Vec<HostCredential>,
}

/// Why a host was not added.
#[derive(Debug, Error)]
pub enum AddHostError {
    /// Another host has the name.
    #[error("a host `{name}` exists, hint: pushkeys-server host revoke {name}")]
    Taken {
        /// The name that was asked for.
        name: HostName,
    },
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Adds a host that will show `credential`.
    pub async fn add_host(
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
            Err(error) if is_taken(&error) => return Err(AddHostError::Taken { name: name.clone() }),
            other => other.map_err(StoreError::of("add a host"))?,
        };
        let id = HostId(id.into());
        host_credentials::add(&mut transaction, &id, credential).await?;
        count_host_change(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// All hosts in the order of their names.
    pub async fn hosts(&self) -> Result<Vec<Host>, StoreError> {
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
                Ok(Host { id: HostId(id.into()), name, created_at: instant(created_at)?, credentials })
            })
            .collect()
    }

    /// Makes the host's credentials worthless and ends its streams. `false`: there is no such host.
    pub async fn revoke_host(&self, name: &HostName) -> Result<bool, StoreError> {
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

/// By this number a server notices what another process did to the hosts.
pub(super) async fn count_host_change(transaction: &mut Transaction) -> Result<(), StoreError> {
    sql("UPDATE service SET hosts_version = hosts_version + 1")
        .execute(transaction)
        .await
        .map_err(StoreError::of("count a change to the hosts"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_can_stand_in_a_log_line_and_a_command() {
        assert_eq!("push-1.par.example.com".parse::<HostName>().unwrap().as_str(), "push-1.par.example.com");
        for text in ["", "a b", "a\n", "a/b", "$(id)", "é", &"a".repeat(254)] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }
}
