//! The keys of accounts.

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Expiry, Fingerprint, KeyName};
use sqlx::FromRow;

use super::audit::{Actor, AuditEvent};
use super::changes::{KeyChange, Numbering, TakenKey};
use super::columns::{expiry, fingerprint, from_sql, instant};
use super::error::StoreError;
use super::handle::Store;
use super::key_facts::named_algorithm;
use crate::database::{Transaction, sql};

/// A key of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) name: String,
    /// The text as the user sent it, one line, with the comment.
    pub(crate) text: String,
    /// Such as `ssh-ed25519`.
    pub(crate) algorithm: String,
    /// `None`: not computed yet, or of a key that today's policy refuses.
    pub(crate) bits: Option<u64>,
    pub(crate) fingerprint: Fingerprint,
    /// Whether the account proved possession of the private key.
    pub(crate) verified: bool,
    /// When hosts begin to refuse it.
    pub(crate) expires_at: Option<Expiry>,
    pub(crate) created_at: Timestamp,
    /// Its last use, as hosts report it.
    pub(crate) last_use: Option<KeyUse>,
    /// Its last check: the last time that a host greeted its user, which shows that ssh is set up.
    pub(crate) last_check: Option<KeyUse>,
}

/// A use of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyUse {
    /// By the host's clock, and never later than it was reported.
    pub(crate) at: Timestamp,
    pub(crate) host: String,
}

#[derive(FromRow)]
struct StoredKeyRow {
    name: String,
    text: String,
    algorithm: Option<String>,
    bits: Option<i64>,
    fingerprint: Vec<u8>,
    verified_at: Option<i64>,
    expires_at: Option<i64>,
    created_at: i64,
    used_at: Option<i64>,
    used_host: Option<String>,
    checked_at: Option<i64>,
    checked_host: Option<String>,
}

impl Store {
    /// The keys of `account` in the order of their names.
    pub(crate) async fn keys(&self, account: &AccountId) -> Result<Vec<StoredKey>, StoreError> {
        let rows: Vec<StoredKeyRow> =
            sql("SELECT k.name, k.text, k.algorithm, k.bits, k.fingerprint, k.verified_at, k.expires_at, k.created_at,
                 u.used_at, u.used_host, u.checked_at, u.checked_host FROM keys k
             JOIN accounts a ON a.number = k.account LEFT JOIN key_uses u ON u.key = k.number
             WHERE a.id = $1 ORDER BY k.name")
            .bind(account.as_str())
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list keys"))?;
        rows.into_iter().map(stored_key).collect()
    }

    /// Removes the key `name` of `account`, in any spelling. `None`: it has no such key.
    pub(crate) async fn remove_key(
        &self,
        account: &AccountId,
        name: &str,
        actor: &Actor,
    ) -> Result<Option<KeyChange>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(owner) = owner(&mut transaction, account).await? else { return Ok(None) };
        let Some(name) = name_held(&mut transaction, &owner, name).await? else { return Ok(None) };
        let Some(taken) = take_key(&mut transaction, &owner, &name).await? else { return Ok(None) };
        let mut numbering = Numbering::default();
        numbering.remove(account.clone(), taken);
        let event = AuditEvent::KeyRemoved;
        self.record(&mut transaction, owner.number, actor, event, &name).await?;
        let changes = self.commit_changes(transaction, numbering, actor).await?;
        Ok(changes.into_iter().next())
    }
}

fn stored_key(row: StoredKeyRow) -> Result<StoredKey, StoreError> {
    let key_use = |at: Option<i64>, host: Option<String>| {
        at.zip(host).map(|(at, host)| Ok::<_, StoreError>(KeyUse { at: instant(at)?, host })).transpose()
    };
    Ok(StoredKey {
        algorithm: row.algorithm.unwrap_or_else(|| named_algorithm(&row.text).to_owned()),
        bits: row.bits.map(from_sql).transpose()?,
        fingerprint: fingerprint(&row.fingerprint)?,
        verified: row.verified_at.is_some(),
        expires_at: row.expires_at.map(expiry).transpose()?,
        created_at: instant(row.created_at)?,
        last_use: key_use(row.used_at, row.used_host)?,
        last_check: key_use(row.checked_at, row.checked_host)?,
        name: row.name,
        text: row.text,
    })
}

/// An account, as a transaction needs it.
pub(super) struct Owner {
    pub(super) number: i64,
    pub(super) name: String,
}

pub(super) async fn owner(
    transaction: &mut Transaction,
    id: &AccountId,
) -> Result<Option<Owner>, StoreError> {
    let row: Option<(i64, String)> = sql("SELECT number, name FROM accounts WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(transaction)
        .await
        .map_err(StoreError::of("find an account"))?;
    Ok(row.map(|(number, name)| Owner { number, name }))
}

/// The name of the key that its owner means by `name`: the one that is stored so, or else the one that it spells.
pub(super) async fn name_held(
    transaction: &mut Transaction,
    owner: &Owner,
    name: &str,
) -> Result<Option<String>, StoreError> {
    sql("SELECT name FROM keys WHERE account = $1 AND (name = $2 OR name = $3) ORDER BY (name = $2) DESC LIMIT 1")
        .bind(owner.number)
        .bind(name)
        .bind(KeyName::spelling(name))
        .fetch_optional_value(transaction)
        .await
        .map_err(StoreError::of("look up a name"))
}

/// Removes the key that is stored under exactly `name`.
pub(super) async fn take_key(
    transaction: &mut Transaction,
    owner: &Owner,
    name: &str,
) -> Result<Option<TakenKey>, StoreError> {
    let row: Option<(String, Vec<u8>, String)> =
        sql("DELETE FROM keys WHERE account = $1 AND name = $2 RETURNING id, fingerprint, entry")
            .bind(owner.number)
            .bind(name)
            .fetch_optional(transaction)
            .await
            .map_err(StoreError::of("remove a key"))?;
    row.map(TakenKey::of).transpose()
}
