//! Credentials of hosts: tokens, and certificates for their names.
//!
//! A host has one credential, and two during a rotation.

use std::collections::HashSet;

use jiff::Timestamp;
use pushkeys_keys::{ErrorReport, Hint};
use thiserror::Error;

use super::columns::{instant, now_ms};
use super::error::StoreError;
use super::handle::Store;
use super::host_names::{HostId, HostName};
use crate::database::{Transaction, sql};
use crate::secret::TokenDigest;

/// A new credential of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewHostCredential {
    /// The token of this digest.
    Token(TokenDigest),
    /// A certificate for the host's name, signed by one of our CAs.
    Certificate,
}

/// The number of a credential; numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HostCredentialNumber(i64);

/// A host that was recognised, and by which of its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostUse {
    pub(crate) host: HostId,
    pub(crate) credential: HostCredentialNumber,
}

/// A credential, as operators list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostCredential {
    /// Whether it is a certificate; otherwise a token.
    pub(crate) is_certificate: bool,
    pub(crate) created_at: Timestamp,
    /// Whether the host has used it.
    pub(crate) is_used: bool,
}

/// Why a rotation was refused.
#[derive(Debug, Error)]
pub(crate) enum RotateHostError {
    #[error("there is no host `{name}`")]
    Unknown {
        name: HostName,
        #[source]
        hint: Hint,
    },
    /// A host has at most two.
    #[error("`{name}` has two credentials already")]
    UnderWay {
        name: HostName,
        #[source]
        hint: Hint,
    },
    /// Any certificate for its name is the same credential.
    #[error("`{0}` is identified by its certificate already: a new certificate needs no change here")]
    Certificate(HostName),
    #[error("`{name}` has one credential")]
    NotUnderWay {
        name: HostName,
        #[source]
        hint: Hint,
    },
    /// The host would be locked out.
    #[error("`{name}` has not used its new credential yet")]
    Unused {
        name: HostName,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Number, whether it is a certificate, and the time of its first use.
type CredentialColumns = (i64, i64, Option<i64>);

impl Store {
    /// Returns the host a second credential; the first stays valid.
    pub(crate) async fn rotate_host(
        &self,
        name: &HostName,
        credential: NewHostCredential,
    ) -> Result<(), RotateHostError> {
        let mut transaction = self.begin_write().await?;
        let (host, rows) = self.credentials_of(&mut transaction, name).await?;
        if rows.len() > 1 {
            let hint =
                Hint::new(format!("once it uses the new one, pushkeys-server host rotate {name} --finish"));
            return Err(RotateHostError::UnderWay { name: name.clone(), hint });
        }
        let is_by_certificate = rows.iter().any(|(_, is_certificate, ..)| *is_certificate == 1);
        if is_by_certificate && credential == NewHostCredential::Certificate {
            return Err(RotateHostError::Certificate(name.clone()));
        }
        add(&mut transaction, &host, credential).await?;
        count_host_change(&mut transaction).await?;
        Ok(self.commit(transaction).await?)
    }

    /// Ends the first credential of a host that has used its second, and the streams opened with it.
    pub(crate) async fn finish_rotation(&self, name: &HostName) -> Result<(), RotateHostError> {
        let mut transaction = self.begin_write().await?;
        let (host, rows) = self.credentials_of(&mut transaction, name).await?;
        let [_, .., (newest, _, used_at)] = rows.as_slice() else {
            let hint = Hint::new(format!("pushkeys-server host rotate {name}"));
            return Err(RotateHostError::NotUnderWay { name: name.clone(), hint });
        };
        if used_at.is_none() {
            let hint = Hint::new("put it in place there, then systemctl restart pushkeys-syncd");
            return Err(RotateHostError::Unused { name: name.clone(), hint });
        }
        sql("DELETE FROM host_credentials WHERE host = $1 AND number < $2")
            .bind(host.to_string())
            .bind(*newest)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("end a host's credential"))?;
        count_host_change(&mut transaction).await?;
        Ok(self.commit(transaction).await?)
    }

    async fn credentials_of(
        &self,
        transaction: &mut Transaction,
        name: &HostName,
    ) -> Result<(HostId, Vec<CredentialColumns>), RotateHostError> {
        let failed = || StoreError::of("look up a host's credentials");
        let host: Option<String> = sql("SELECT id FROM hosts WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional_value(&mut *transaction)
            .await
            .map_err(failed())?;
        let unknown =
            || RotateHostError::Unknown { name: name.clone(), hint: Hint::new("pushkeys-server host list") };
        let host = HostId::of(host.ok_or_else(unknown)?);
        let rows =
            sql("SELECT number, CAST(CASE WHEN token_sha256 IS NULL THEN 1 ELSE 0 END AS BIGINT), used_at
             FROM host_credentials WHERE host = $1 ORDER BY number")
            .bind(host.to_string())
            .fetch_all(transaction)
            .await
            .map_err(failed())?;
        Ok((host, rows))
    }

    /// The host that has the token of `digest`.
    pub(crate) async fn host_by_token(&self, digest: TokenDigest) -> Result<Option<HostUse>, StoreError> {
        let found = sql("SELECT host, number, used_at FROM host_credentials WHERE token_sha256 = $1")
            .bind(digest.as_bytes())
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a host's token"))?;
        Ok(self.used(found).await)
    }

    /// The host that is identified by a certificate for `name`.
    pub(crate) async fn host_by_certificate(&self, name: &HostName) -> Result<Option<HostUse>, StoreError> {
        let found =
            sql("SELECT c.host, c.number, c.used_at FROM host_credentials c JOIN hosts h ON h.id = c.host
             WHERE h.name = $1 AND c.token_sha256 IS NULL")
            .bind(name.as_str())
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a host's certificate"))?;
        Ok(self.used(found).await)
    }

    /// Records the first use of a credential, after which the rotation can be finished.
    async fn used(&self, found: Option<(String, i64, Option<i64>)>) -> Option<HostUse> {
        let (host, number, used_at) = found?;
        if used_at.is_none() {
            let noted = sql("UPDATE host_credentials SET used_at = $1 WHERE number = $2 AND used_at IS NULL")
                .bind(now_ms())
                .bind(number)
                .execute(&self.database)
                .await;
            // The next use is recorded as well.
            if let Err(error) = noted.map_err(StoreError::of("note the use of a host's credential")) {
                tracing::warn!("{}", ErrorReport::of(&error));
            }
        }
        Some(HostUse { host: HostId::of(host), credential: HostCredentialNumber(number) })
    }

    /// The numbers of all valid credentials.
    pub(crate) async fn host_credentials(&self) -> Result<HashSet<HostCredentialNumber>, StoreError> {
        let numbers: Vec<i64> = sql("SELECT number FROM host_credentials")
            .fetch_values(&self.database)
            .await
            .map_err(StoreError::of("list the credentials of hosts"))?;
        Ok(numbers.into_iter().map(HostCredentialNumber).collect())
    }

    /// All credentials, each with its host, oldest first.
    pub(super) async fn listed_credentials(&self) -> Result<Vec<(String, HostCredential)>, StoreError> {
        let rows: Vec<(String, i64, i64, Option<i64>)> =
            sql("SELECT host, CAST(CASE WHEN token_sha256 IS NULL THEN 1 ELSE 0 END AS BIGINT), created_at, used_at
             FROM host_credentials ORDER BY number")
                .fetch_all(&self.database)
                .await
                .map_err(StoreError::of("list the credentials of hosts"))?;
        let of = |(host, is_certificate, created_at, used_at): (String, i64, i64, Option<i64>)| {
            let created_at = instant(created_at)?;
            let is_certificate = is_certificate == 1;
            Ok((host, HostCredential { is_certificate, created_at, is_used: used_at.is_some() }))
        };
        rows.into_iter().map(of).collect()
    }
}

/// A running service notices by this number that another process changed the hosts.
pub(super) async fn count_host_change(transaction: &mut Transaction) -> Result<(), StoreError> {
    sql("UPDATE service SET hosts_version = hosts_version + 1")
        .execute(transaction)
        .await
        .map_err(StoreError::of("count a change to the hosts"))?;
    Ok(())
}

/// Adds `credential` to `host`.
pub(super) async fn add(
    transaction: &mut Transaction,
    host: &HostId,
    credential: NewHostCredential,
) -> Result<(), StoreError> {
    let digest = match &credential {
        NewHostCredential::Token(digest) => Some(digest.as_bytes()),
        NewHostCredential::Certificate => None,
    };
    sql("INSERT INTO host_credentials (host, token_sha256, created_at) VALUES ($1, $2, $3)")
        .bind(host.to_string())
        .bind(digest)
        .bind(now_ms())
        .execute(transaction)
        .await
        .map_err(StoreError::of("give a host a credential"))?;
    Ok(())
}
