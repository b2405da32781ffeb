//! The mail queue. A mail is queued in the transaction of the change that it is about.

use std::time::Duration;

use pushkeys_keys::AccountId;

use super::audit::{Actor, AuditColumns, AuditEvent, AuditRow, is_busy, row};
use super::columns::{from_sql, ms_after, now_ms, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret::{self, NewIdError};

/// Queued mails of an account from which on one tells of several changes, so that an outage of the mail server does not fill
/// the disk, and nothing is left untold.
const WAITING_PER_ACCOUNT_MAX: i64 = 20;
/// Roughly the most in all; more are dropped.
const WAITING_MAX: i64 = 1_000_000;
/// How long a mail of an account with many changes waits for others of its kind.
const GATHER_TIME: Duration = Duration::from_mins(10);

/// A queued mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingMail {
    /// Part of its `Message-ID`, so that a mail which is sent twice can be recognised.
    pub(crate) id: String,
    /// The account's address at the time of the change.
    pub(crate) recipient: String,
    pub(crate) account_name: String,
    /// The code of the account's language.
    pub(crate) language: Option<String>,
    pub(crate) change: AuditRow,
    /// Attempts to send it, including this one.
    pub(crate) attempts: u64,
}

impl Store {
    /// Queues a mail about a change, if mails are sent and the account has an address.
    pub(super) async fn queue_mail(
        &self,
        transaction: &mut Transaction,
        account: i64,
        actor: &Actor,
        event: AuditEvent,
        subject: &str,
    ) -> Result<(), StoreError> {
        if !self.limits.sends_mail || !is_mailed(event) {
            return Ok(());
        }
        let now = now_ms();
        let is_busy = is_about_keys(event) && is_busy(transaction, account).await?;
        let is_many = is_busy || waiting_mails(transaction, account).await? >= WAITING_PER_ACCOUNT_MAX;
        if is_many && count_in_mail(transaction, account, actor, event).await? {
            return Ok(());
        }
        let id = secret::random_id("mail").map_err(NewIdError::from)?;
        let [via, label, address] = actor.columns();
        // Others of its kind are counted in it meanwhile.
        let due_at = if is_busy { ms_after(now, GATHER_TIME) } else { now };
        let queued = sql("INSERT INTO mails (id, account, account_name, recipient, language, event, subject, via, via_label,
                 address, created_at, due_at, attempts)
             SELECT $1, number, name, email, language, $2, $3, $4, $5, $6, $7, $8, 0
             FROM accounts WHERE number = $9 AND email IS NOT NULL
             AND (SELECT coalesce(max(number) - min(number), 0) FROM mails) < $10")
        .bind(id)
        .bind(event.as_str())
        .bind(subject)
        .bind(via)
        .bind(label)
        .bind(address)
        .bind(now)
        .bind(due_at)
        .bind(account)
        .bind(WAITING_MAX)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::of("queue a mail"))?;
        if queued == 0 {
            self.log_full_queue(transaction, account, event).await?;
        }
        Ok(())
    }

    /// Logs that no mail was queued, unless the account has no address.
    async fn log_full_queue(
        &self,
        transaction: &mut Transaction,
        account: i64,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let name: Option<String> = sql("SELECT name FROM accounts WHERE number = $1 AND email IS NOT NULL")
            .bind(account)
            .fetch_optional_value(transaction)
            .await
            .map_err(StoreError::of("look up an account's address"))?;
        if let Some(account) = name {
            let event = event.as_str();
            tracing::warn!(account, event, "the mail queue is full: no mail is sent about this change");
        }
        Ok(())
    }

    /// Takes the mail that has been due for longest, for the time `lease`. After that it is due again, unless it was
    /// [removed](Self::drop_mail).
    pub(crate) async fn take_mail(&self, lease: Duration) -> Result<Option<WaitingMail>, StoreError> {
        // Usually nothing is due, and then nothing is written.
        let due: Option<i64> = sql("SELECT number FROM mails WHERE due_at <= $1 LIMIT 1")
            .bind(now_ms())
            .fetch_optional_value(&self.database)
            .await
            .map_err(StoreError::of("look for mails that are due"))?;
        if due.is_none() {
            return Ok(None);
        }
        let mut transaction = self.begin_write().await?;
        let now = now_ms();
        let taken: Option<(i64, String, String, String, Option<String>, i64)> =
            sql("UPDATE mails SET due_at = $1, attempts = attempts + 1 WHERE number =
                 (SELECT number FROM mails WHERE due_at <= $2 ORDER BY due_at, number LIMIT 1)
             RETURNING number, id, recipient, account_name, language, attempts")
            .bind(ms_after(now, lease))
            .bind(now)
            .fetch_optional(&mut transaction)
            .await
            .map_err(StoreError::of("take a mail from the queue"))?;
        let Some((number, id, recipient, account_name, language, attempts)) = taken else { return Ok(None) };
        let change: AuditColumns = sql(
            "SELECT number, created_at, event, subject, via, via_label, address, repeats FROM mails WHERE number = $1",
        )
        .bind(number)
        .fetch_one(&mut transaction)
        .await
        .map_err(StoreError::of("read a mail in the queue"))?;
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        let (change, attempts) = (row(change)?, from_sql(attempts)?);
        Ok(Some(WaitingMail { id, recipient, account_name, language, change, attempts }))
    }

    /// Makes the mail due after `delay`, and sets its number of attempts.
    pub(crate) async fn delay_mail(
        &self,
        id: &str,
        attempts: u64,
        delay: Duration,
    ) -> Result<(), StoreError> {
        sql("UPDATE mails SET due_at = $1, attempts = $2 WHERE id = $3")
            .bind(ms_after(now_ms(), delay))
            .bind(to_sql(attempts))
            .bind(id)
            .execute(&self.database)
            .await
            .map_err(StoreError::of("delay a mail"))?;
        Ok(())
    }

    /// Removes a mail that was sent or given up.
    pub(crate) async fn remove_mail(&self, id: &str) -> Result<(), StoreError> {
        sql("DELETE FROM mails WHERE id = $1")
            .bind(id)
            .execute(&self.database)
            .await
            .map_err(StoreError::of("drop a mail from the queue"))?;
        Ok(())
    }

    /// Sets the code of the language in which mails to `account` are written.
    pub(crate) async fn set_language(&self, account: &AccountId, language: &str) -> Result<(), StoreError> {
        sql("UPDATE accounts SET language = $1 WHERE id = $2 AND (language IS NULL OR language <> $3)")
            .bind(language)
            .bind(account.as_str())
            .bind(language)
            .execute(&self.database)
            .await
            .map_err(StoreError::of("remember a language"))?;
        Ok(())
    }
}

/// Whether a mail is sent about `event`: about keys and credentials, but not about each session.
fn is_mailed(event: AuditEvent) -> bool {
    !matches!(event, AuditEvent::SignedIn | AuditEvent::SignedOut | AuditEvent::SessionEnded)
}

/// Whether `event` is a change that an account may make often. Mails about all others are sent at once.
fn is_about_keys(event: AuditEvent) -> bool {
    matches!(
        event,
        AuditEvent::KeyAdded
            | AuditEvent::KeysImported
            | AuditEvent::KeyChanged
            | AuditEvent::KeyRemoved
            | AuditEvent::KeyReported
            | AuditEvent::KeyContested
    )
}

async fn waiting_mails(transaction: &mut Transaction, account: i64) -> Result<i64, StoreError> {
    sql("SELECT count(*) FROM mails WHERE account = $1")
        .bind(account)
        .fetch_value(transaction)
        .await
        .map_err(StoreError::of("count queued mails"))
}

/// Counts a change in a mail about others of its kind by its actor that was not tried yet. `false`: there is none.
async fn count_in_mail(
    transaction: &mut Transaction,
    account: i64,
    actor: &Actor,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let [via, label, _] = actor.columns();
    let counted = sql("UPDATE mails SET repeats = repeats + 1 WHERE number =
         (SELECT max(number) FROM mails WHERE account = $1 AND event = $2 AND attempts = 0
          AND via = $3 AND via_label IS NOT DISTINCT FROM $4)")
    .bind(account)
    .bind(event.as_str())
    .bind(via)
    .bind(label)
    .execute(transaction)
    .await
    .map_err(StoreError::of("queue a mail"))?;
    Ok(counted == 1)
}
