//! The public host keys of push hosts: the keys that hosts report, and those that the service publishes.
//!
//! A key is published for the name that users connect to (`push.example.com`). The operator decides which name a host serves, never the
//! host. A reported key is published once the operator has accepted it, since a stolen host token must not make users trust another
//! machine. The first keys of a name are published at once if one host alone serves it: nothing is published yet that they could
//! contradict. A published key stays so until the operator withdraws it: no report can remove it.

use std::collections::{HashMap, HashSet};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use pushkeys_keys::{Fingerprint, ValidKey};

use super::columns::{fingerprint, from_sql, instant, now_ms};
use super::error::StoreError;
use super::handle::Store;
use super::host_names::{HostId, HostName};
use crate::database::{Transaction, sql};
use crate::push_host::PushHost;

/// A host key of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostKey {
    /// What users connect to.
    pub(crate) push_host: PushHost,
    pub(crate) fingerprint: Fingerprint,
    /// `type base64`.
    pub(crate) text: String,
    /// When a host first reported it.
    pub(crate) seen_at: Timestamp,
    /// Since when it is published.
    pub(crate) accepted_at: Option<Timestamp>,
    /// The names of the hosts whose last report has it.
    pub(crate) shown_by: Vec<String>,
}

/// The result of a host's report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShownKeys {
    /// What users connect to, unless the operator has not configured it.
    pub(crate) push_host: Option<String>,
    /// Keys that no host had reported for that name.
    pub(crate) new: Vec<Fingerprint>,
    /// Keys that are not published.
    pub(crate) waiting: Vec<Fingerprint>,
}

impl HostKey {
    /// The key as a line of `known_hosts`, if it is published.
    pub(crate) fn known_hosts_line(&self) -> Option<String> {
        self.accepted_at?;
        Some(format!("{} {}", self.push_host.known_as(), self.text))
    }

    /// The key as an SSHFP record (RFC 4255, RFC 6594, RFC 7479), if it is published and its type has a number there. Records have no
    /// port: they hold for every port of the name.
    pub(crate) fn sshfp_record(&self) -> Option<String> {
        const SHA_256: u8 = 2;
        self.accepted_at?;
        let algorithm = match self.kind() {
            "ssh-rsa" => 1,
            "ssh-ed25519" => 4,
            kind if kind.starts_with("ecdsa-") => 3,
            _ => return None,
        };
        let digest = HEXLOWER.encode(self.fingerprint.as_bytes());
        Some(format!("{}. IN SSHFP {algorithm} {SHA_256} {digest}", self.push_host.domain()))
    }

    /// Its type, as SSH names it.
    pub(crate) fn kind(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }
}

impl Store {
    /// Records `keys` as all keys that `host` has now. A host without a name of its own serves `default`.
    pub(crate) async fn report_host_keys(
        &self,
        host: &HostId,
        keys: &[ValidKey],
        default: Option<&PushHost>,
    ) -> Result<ShownKeys, StoreError> {
        let mut transaction = self.begin_write().await?;
        let own: Option<Option<String>> = sql("SELECT push_host FROM hosts WHERE id = $1")
            .bind(host.to_string())
            .fetch_optional_value(&mut transaction)
            .await
            .map_err(StoreError::of("find a host"))?;
        let Some(push_host) = own.and_then(|own| own.or_else(|| default.map(PushHost::to_string))) else {
            return Ok(ShownKeys::default());
        };
        forget_shown(&mut transaction, host).await?;
        let is_first = is_first(&mut transaction, host, &push_host, default).await?;
        let mut shown = ShownKeys { push_host: Some(push_host.clone()), ..ShownKeys::default() };
        for key in keys {
            let fingerprint = key.fingerprint();
            let added = add_shown(&mut transaction, host, &push_host, key, is_first).await?;
            shown.new.extend(added.then_some(fingerprint));
        }
        drop_unseen(&mut transaction).await?;
        shown.waiting = waiting_of(&mut transaction, host).await?;
        // Nothing of this is sent to hosts, so no stream is woken.
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        Ok(shown)
    }

    /// All host keys of all names, except withdrawn ones that no host has.
    pub(crate) async fn host_keys(&self) -> Result<Vec<HostKey>, StoreError> {
        let rows: Vec<HostKeyColumns> =
            sql("SELECT push_host, fingerprint, key, seen_at, accepted_at FROM host_keys k
             WHERE withdrawn_at IS NULL OR accepted_at IS NOT NULL OR EXISTS (SELECT 1 FROM host_keys_shown s
                 WHERE s.push_host = k.push_host AND s.fingerprint = k.fingerprint)
             ORDER BY push_host, key")
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list host keys"))?;
        let shown: Vec<(String, Vec<u8>, String)> = sql(
            "SELECT s.push_host, s.fingerprint, h.name FROM host_keys_shown s JOIN hosts h ON h.id = s.host
             ORDER BY h.name",
        )
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list host keys"))?;
        let mut hosts: HashMap<(String, Vec<u8>), Vec<String>> = HashMap::new();
        for (push_host, digest, host) in shown {
            hosts.entry((push_host, digest)).or_default().push(host);
        }
        let with_hosts = |columns: HostKeyColumns| {
            let shown_by = hosts.remove(&(columns.0.clone(), columns.1.clone())).unwrap_or_default();
            Ok(HostKey { shown_by, ..host_key(columns)? })
        };
        rows.into_iter().map(with_hosts).collect()
    }

    /// The published host keys of all names, without the hosts that have them.
    pub(crate) async fn published_host_keys(&self) -> Result<Vec<HostKey>, StoreError> {
        let rows: Vec<HostKeyColumns> =
            sql("SELECT push_host, fingerprint, key, seen_at, accepted_at FROM host_keys
             WHERE accepted_at IS NOT NULL ORDER BY push_host, key")
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list host keys"))?;
        rows.into_iter().map(host_key).collect()
    }

    /// Publishes the key for every name that it waits for. `false`: it waits for none.
    pub(crate) async fn accept_host_key(&self, key: &Fingerprint) -> Result<bool, StoreError> {
        let done =
            sql("UPDATE host_keys SET accepted_at = $1 WHERE fingerprint = $2 AND accepted_at IS NULL")
                .bind(now_ms())
                .bind(key.as_bytes().as_slice())
                .execute(&self.database)
                .await
                .map_err(StoreError::of("accept a host key"))?;
        Ok(done > 0)
    }

    /// Stops publishing the key; while a host has it, it waits again. `false`: it is not published.
    pub(crate) async fn withdraw_host_key(&self, key: &Fingerprint) -> Result<bool, StoreError> {
        let done = sql("UPDATE host_keys SET accepted_at = NULL, withdrawn_at = $1
             WHERE fingerprint = $2 AND accepted_at IS NOT NULL")
        .bind(now_ms())
        .bind(key.as_bytes().as_slice())
        .execute(&self.database)
        .await
        .map_err(StoreError::of("withdraw a host key"))?;
        Ok(done > 0)
    }

    /// Has the host `name` serve `push_host`, or the one of the configuration. Its keys count for that name from its next report on.
    /// `false`: there is no such host.
    pub(crate) async fn set_push_host(
        &self,
        name: &HostName,
        push_host: Option<&PushHost>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let id: Option<String> = sql("SELECT id FROM hosts WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional_value(&mut transaction)
            .await
            .map_err(StoreError::of("find a host"))?;
        let Some(id) = id else { return Ok(false) };
        sql("UPDATE hosts SET push_host = $1 WHERE id = $2")
            .bind(push_host.map(PushHost::to_string))
            .bind(&id)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("change what a host serves"))?;
        forget_shown(&mut transaction, &HostId::of(id)).await?;
        drop_unseen(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        Ok(true)
    }

    /// The number of keys that wait for the operator.
    pub(crate) async fn host_keys_waiting(&self) -> Result<u64, StoreError> {
        let count: i64 = sql("SELECT COUNT(*) FROM host_keys k WHERE accepted_at IS NULL AND EXISTS
             (SELECT 1 FROM host_keys_shown s WHERE s.push_host = k.push_host AND s.fingerprint = k.fingerprint)")
            .fetch_value(&self.database)
            .await
            .map_err(StoreError::of("count host keys"))?;
        from_sql(count)
    }
}

async fn forget_shown(transaction: &mut Transaction, host: &HostId) -> Result<(), StoreError> {
    sql("DELETE FROM host_keys_shown WHERE host = $1")
        .bind(host.to_string())
        .execute(transaction)
        .await
        .map_err(StoreError::of("replace a host's keys"))?;
    Ok(())
}

/// `push_host`, fingerprint, key, `seen_at`, `accepted_at`.
type HostKeyColumns = (String, Vec<u8>, String, i64, Option<i64>);

fn host_key((push_host, digest, text, seen_at, accepted_at): HostKeyColumns) -> Result<HostKey, StoreError> {
    Ok(HostKey {
        push_host: push_host.parse().map_err(|_| StoreError::malformed("a push host"))?,
        fingerprint: fingerprint(&digest)?,
        text,
        seen_at: instant(seen_at)?,
        accepted_at: accepted_at.map(instant).transpose()?,
        shown_by: Vec::new(),
    })
}

/// Whether the name has no key, published, waiting or withdrawn, and no other host serves it.
async fn is_first(
    transaction: &mut Transaction,
    host: &HostId,
    push_host: &str,
    default: Option<&PushHost>,
) -> Result<bool, StoreError> {
    let (keys, others): (i64, i64) = sql("SELECT (SELECT COUNT(*) FROM host_keys WHERE push_host = $1),
         (SELECT COUNT(*) FROM hosts WHERE id <> $2 AND COALESCE(push_host, $3) = $1)")
    .bind(push_host)
    .bind(host.to_string())
    .bind(default.map_or_else(String::new, PushHost::to_string))
    .fetch_one(transaction)
    .await
    .map_err(StoreError::of("look for host keys"))?;
    Ok(keys == 0 && others == 0)
}

/// Records that `host` has `key`. Returns whether the key is new for that name.
async fn add_shown(
    transaction: &mut Transaction,
    host: &HostId,
    push_host: &str,
    key: &ValidKey,
    is_accepted: bool,
) -> Result<bool, StoreError> {
    let (digest, now) = (key.fingerprint(), now_ms());
    let added = sql("INSERT INTO host_keys (push_host, fingerprint, key, seen_at, accepted_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (push_host, fingerprint) DO NOTHING")
    .bind(push_host)
    .bind(digest.as_bytes().as_slice())
    .bind(key.canonical_text())
    .bind(now)
    .bind(is_accepted.then_some(now))
    .execute(&mut *transaction)
    .await
    .map_err(StoreError::of("keep a host key"))?;
    sql("INSERT INTO host_keys_shown (host, push_host, fingerprint) VALUES ($1, $2, $3)
         ON CONFLICT (host, fingerprint) DO NOTHING")
    .bind(host.to_string())
    .bind(push_host)
    .bind(digest.as_bytes().as_slice())
    .execute(transaction)
    .await
    .map_err(StoreError::of("keep a host key"))?;
    Ok(added > 0)
}

/// Deletes waiting keys that no host has any more, so that reports cannot fill the table.
async fn drop_unseen(transaction: &mut Transaction) -> Result<(), StoreError> {
    sql("DELETE FROM host_keys WHERE accepted_at IS NULL AND withdrawn_at IS NULL AND NOT EXISTS
         (SELECT 1 FROM host_keys_shown s
          WHERE s.push_host = host_keys.push_host AND s.fingerprint = host_keys.fingerprint)")
    .execute(transaction)
    .await
    .map_err(StoreError::of("drop host keys"))?;
    Ok(())
}

async fn waiting_of(transaction: &mut Transaction, host: &HostId) -> Result<Vec<Fingerprint>, StoreError> {
    let digests: Vec<Vec<u8>> = sql("SELECT k.fingerprint FROM host_keys k JOIN host_keys_shown s
         ON s.push_host = k.push_host AND s.fingerprint = k.fingerprint
         WHERE s.host = $1 AND k.accepted_at IS NULL ORDER BY k.key")
    .bind(host.to_string())
    .fetch_values(transaction)
    .await
    .map_err(StoreError::of("look for host keys"))?;
    digests.iter().map(|digest| fingerprint(digest)).collect()
}

/// The names of the hosts that have a key of `keys` which is not published.
pub(crate) fn hosts_with_waiting_keys(keys: &[HostKey]) -> HashSet<&str> {
    keys.iter()
        .filter(|key| key.accepted_at.is_none())
        .flat_map(|key| key.shown_by.iter().map(String::as_str))
        .collect()
}
