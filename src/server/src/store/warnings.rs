//! Warnings of accounts about ownership conflicts, kept until they are dismissed.

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Fingerprint};

use super::columns::{fingerprint, instant, now_ms};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret::{self, NewIdError};

/// The most warnings of an account; the oldest are dropped first.
const WARNINGS_MAX: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarningKind {
    /// Another account has the key, or tried to register it.
    Contested,
    /// Another account proved possession of the key, and has it now.
    TakenOver,
}

impl WarningKind {
    /// The name in the API and in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Contested => "contested",
            Self::TakenOver => "taken_over",
        }
    }
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) id: String,
    /// [`WarningKind::as_str`].
    pub(crate) kind: String,
    pub(crate) fingerprint: Fingerprint,
    /// The name of the key in this account.
    pub(crate) name: String,
    /// The key, if this account tried to register it and can prove possession.
    pub(crate) text: Option<String>,
    /// When it happened last.
    pub(crate) date: Timestamp,
}

type WarningColumns = (String, String, Vec<u8>, String, Option<String>, i64);

impl Store {
    /// The warnings of `account`, the newest first.
    pub(crate) async fn warnings(&self, account: &AccountId) -> Result<Vec<Warning>, StoreError> {
        let rows: Vec<WarningColumns> =
            sql("SELECT w.id, w.kind, w.fingerprint, w.name, w.text, w.created_at
             FROM warnings w JOIN accounts a ON a.number = w.account
             WHERE a.id = $1 ORDER BY w.created_at DESC, w.number DESC")
            .bind(account.as_str())
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list warnings"))?;
        rows.into_iter()
            .map(|(id, kind, digest, name, text, created_at)| {
                let fingerprint = fingerprint(&digest)?;
                Ok(Warning { id, kind, fingerprint, name, text, date: instant(created_at)? })
            })
            .collect()
    }

    /// Removes the warning `id` of `account`. `false`: it has no such warning.
    pub(crate) async fn dismiss_warning(&self, account: &AccountId, id: &str) -> Result<bool, StoreError> {
        let done = sql(
            "DELETE FROM warnings WHERE id = $1 AND account = (SELECT number FROM accounts WHERE id = $2)",
        )
        .bind(id)
        .bind(account.as_str())
        .execute(&self.database)
        .await;
        Ok(done.map_err(StoreError::of("dismiss a warning"))? > 0)
    }
}

/// Warns the account of number `account`; only the date of an existing warning changes. `text` is the key that it tried to
/// register.
pub(super) async fn warn(
    transaction: &mut Transaction,
    account: i64,
    kind: WarningKind,
    fingerprint: Fingerprint,
    name: &str,
    text: Option<&str>,
) -> Result<(), StoreError> {
    let id = secret::random_id("warn").map_err(NewIdError::from)?;
    sql("INSERT INTO warnings (id, account, kind, fingerprint, name, text, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (account, kind, fingerprint)
         DO UPDATE SET name = excluded.name, text = excluded.text, created_at = excluded.created_at")
    .bind(id)
    .bind(account)
    .bind(kind.as_str())
    .bind(fingerprint.as_bytes().as_slice())
    .bind(name)
    .bind(text)
    .bind(now_ms())
    .execute(&mut *transaction)
    .await
    .map_err(StoreError::of("write a warning"))?;
    sql("DELETE FROM warnings WHERE account = $1 AND number <=
             (SELECT number FROM warnings WHERE account = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)")
    .bind(account)
    .bind(WARNINGS_MAX)
    .execute(transaction)
    .await
    .map_err(StoreError::of("drop old warnings"))?;
    Ok(())
}

/// Removes the warnings of the account of number `account` about a key whose conflict is settled.
pub(super) async fn settle(
    transaction: &mut Transaction,
    account: i64,
    fingerprint: Fingerprint,
) -> Result<(), StoreError> {
    sql("DELETE FROM warnings WHERE account = $1 AND fingerprint = $2")
        .bind(account)
        .bind(fingerprint.as_bytes().as_slice())
        .execute(transaction)
        .await
        .map_err(StoreError::of("settle an ownership conflict"))?;
    Ok(())
}
