//! Passwords and sessions of accounts.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_keys::{AccountId, AccountName};

use super::accounts::account_number;
use super::audit::{Actor, AuditEvent};
use super::columns::{account_id, instant, ms_before, now_ms};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret::TokenDigest;

/// The most sessions of an account; the oldest are dropped first.
const SESSIONS_MAX: u32 = 50;
/// How often the use of a session is recorded at most.
const SEEN_EVERY: Duration = Duration::from_mins(1);

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// Without being used.
    pub(crate) idle: Duration,
    /// In all.
    pub(crate) max: Duration,
}

/// A new session.
pub(crate) struct NewSession<'a> {
    pub(crate) id: &'a str,
    /// The digest of the browser's token.
    pub(crate) digest: TokenDigest,
    /// The browser's `User-Agent`.
    pub(crate) agent: &'a str,
    /// The hash that the password fitted, which still has to be the account's; `None`: the user signed in without one.
    pub(crate) password: Option<&'a str>,
    /// When its user last signed in or confirmed it.
    pub(crate) signed_in_at: Timestamp,
}

/// The session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) account: AccountId,
    pub(crate) account_name: String,
    /// When its user last signed in or confirmed it.
    pub(crate) signed_in_at: Timestamp,
}

/// A session, as its account lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    pub(crate) id: String,
    /// The browser's `User-Agent`.
    pub(crate) agent: String,
    /// The address at sign-in.
    pub(crate) address: Option<IpAddr>,
    /// Its last use, to about a minute.
    pub(crate) seen_at: Timestamp,
}

impl Store {
    /// The account `name`, in any spelling, and the hash of its password if it has one.
    pub(crate) async fn password(
        &self,
        name: &str,
    ) -> Result<Option<(AccountId, Option<String>)>, StoreError> {
        let row: Option<(String, Option<String>)> = sql("SELECT id, password FROM accounts WHERE name = $1 OR name = $2 ORDER BY (name = $1) DESC LIMIT 1")
            .bind(name)
            .bind(AccountName::spelling(name))
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a password"))?;
        row.map(|(id, hash)| Ok((account_id(&id)?, hash))).transpose()
    }

    /// Sets the password of `account`, and ends its sessions except `kept`. `false`: there is no such account.
    pub(crate) async fn set_password(
        &self,
        account: &AccountId,
        hash: &str,
        kept: Option<&str>,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        sql("UPDATE accounts SET password = $1 WHERE number = $2")
            .bind(hash)
            .bind(number)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("set a password"))?;
        sql("DELETE FROM sessions WHERE account = $1 AND id <> $2")
            .bind(number)
            .bind(kept.unwrap_or_default())
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("end sessions"))?;
        self.record(&mut transaction, number, actor, AuditEvent::PasswordChanged, "").await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Begins a session of `account`. `false`: the account is gone, or its password was changed.
    pub(crate) async fn add_session(
        &self,
        account: &AccountId,
        session: &NewSession<'_>,
        lifetimes: Lifetimes,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row: Option<(i64, Option<String>)> = sql("SELECT number, password FROM accounts WHERE id = $1")
            .bind(account.as_str())
            .fetch_optional(&mut transaction)
            .await
            .map_err(StoreError::of("find an account"))?;
        let Some((number, password)) = row else { return Ok(false) };
        if session.password.is_some() && session.password != password.as_deref() {
            return Ok(false);
        }
        drop_sessions(&mut transaction, number, lifetimes).await?;
        let now = now_ms();
        sql("INSERT INTO sessions
                 (id, account, token_sha256, agent, address, created_at, seen_at, signed_in_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(session.id)
        .bind(number)
        .bind(session.digest.as_bytes())
        .bind(session.agent)
        .bind(actor.address.map(|address| address.to_string()))
        .bind(now)
        .bind(now)
        .bind(session.signed_in_at.as_millisecond())
        .execute(&mut transaction)
        .await
        .map_err(StoreError::of("begin a session"))?;
        self.record(&mut transaction, number, actor, AuditEvent::SignedIn, session.agent).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// The session with this digest, if it has not ended; its use is recorded.
    pub(crate) async fn session(
        &self,
        digest: TokenDigest,
        lifetimes: Lifetimes,
    ) -> Result<Option<Session>, StoreError> {
        let now = now_ms();
        let row: Option<(String, String, String, i64, i64)> =
            sql("SELECT s.id, a.id, a.name, s.signed_in_at, s.seen_at
             FROM sessions s JOIN accounts a ON a.number = s.account
             WHERE s.token_sha256 = $1 AND s.created_at > $2 AND s.seen_at > $3")
            .bind(digest.as_bytes())
            .bind(ms_before(now, lifetimes.max))
            .bind(ms_before(now, lifetimes.idle))
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a session"))?;
        let Some((id, account, account_name, signed_in_at, seen_at)) = row else { return Ok(None) };
        if seen_at <= ms_before(now, SEEN_EVERY.min(lifetimes.idle / 2)) {
            sql("UPDATE sessions SET seen_at = $1 WHERE id = $2")
                .bind(now)
                .bind(&id)
                .execute(&self.database)
                .await
                .map_err(StoreError::of("record the use of a session"))?;
        }
        let (account, signed_in_at) = (account_id(&account)?, instant(signed_in_at)?);
        Ok(Some(Session { id, account, account_name, signed_in_at }))
    }

    /// Keeps an encrypted form in the session `id` while its user confirms it at the OpenID provider; replaces one kept
    /// before.
    pub(crate) async fn set_kept_form(&self, id: &str, encrypted: &[u8]) -> Result<(), StoreError> {
        sql("UPDATE sessions SET kept_form = $1 WHERE id = $2")
            .bind(encrypted)
            .bind(id)
            .execute(&self.database)
            .await
            .map_err(StoreError::of("keep a form"))?;
        Ok(())
    }

    /// Records that the user confirmed the session at `at`. Returns the form that was kept, once.
    pub(crate) async fn confirm_session(
        &self,
        id: &str,
        at: Timestamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let kept: Option<Option<Vec<u8>>> = sql("SELECT kept_form FROM sessions WHERE id = $1")
            .bind(id)
            .fetch_optional_value(&mut transaction)
            .await
            .map_err(StoreError::of("look up a kept form"))?;
        sql("UPDATE sessions SET signed_in_at = $1, kept_form = NULL WHERE id = $2")
            .bind(at.as_millisecond())
            .bind(id)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("confirm a session"))?;
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        Ok(kept.flatten())
    }

    /// The current sessions of `account`, the last used first.
    pub(crate) async fn sessions(
        &self,
        account: &AccountId,
        lifetimes: Lifetimes,
    ) -> Result<Vec<SessionInfo>, StoreError> {
        let now = now_ms();
        let rows: Vec<(String, String, Option<String>, i64)> = sql(
            "SELECT s.id, s.agent, s.address, s.seen_at FROM sessions s JOIN accounts a ON a.number = s.account
             WHERE a.id = $1 AND s.created_at > $2 AND s.seen_at > $3 ORDER BY s.seen_at DESC, s.number DESC",
        )
        .bind(account.as_str())
        .bind(ms_before(now, lifetimes.max))
        .bind(ms_before(now, lifetimes.idle))
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list sessions"))?;
        rows.into_iter()
            .map(|(id, agent, address, seen_at)| {
                let address = address.and_then(|address| address.parse().ok());
                Ok(SessionInfo { id, agent, address, seen_at: instant(seen_at)? })
            })
            .collect()
    }

    /// Ends the session `id` of `account`; `event` says whether by signing out or from another session. `false`: it has no
    /// such session.
    pub(crate) async fn end_session(
        &self,
        account: &AccountId,
        id: &str,
        event: AuditEvent,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        let agent: Option<String> =
            sql("DELETE FROM sessions WHERE account = $1 AND id = $2 RETURNING agent")
                .bind(number)
                .bind(id)
                .fetch_optional_value(&mut transaction)
                .await
                .map_err(StoreError::of("end a session"))?;
        let Some(agent) = agent else { return Ok(false) };
        self.record(&mut transaction, number, actor, event, &agent).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Ends all sessions of `account` except `kept`.
    pub(crate) async fn end_other_sessions(
        &self,
        account: &AccountId,
        kept: &str,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(()) };
        let agents: Vec<String> = sql("DELETE FROM sessions WHERE account = $1 AND id <> $2 RETURNING agent")
            .bind(number)
            .bind(kept)
            .fetch_values(&mut transaction)
            .await
            .map_err(StoreError::of("end sessions"))?;
        for agent in agents {
            self.record(&mut transaction, number, actor, AuditEvent::SessionEnded, &agent).await?;
        }
        self.commit(transaction).await
    }
}

/// Drops sessions to make room for a new one: ended ones, and the oldest of too many.
async fn drop_sessions(
    transaction: &mut Transaction,
    account: i64,
    lifetimes: Lifetimes,
) -> Result<(), StoreError> {
    let now = now_ms();
    sql("DELETE FROM sessions WHERE account = $1 AND (created_at <= $2 OR seen_at <= $3 OR number <=
             (SELECT number FROM sessions WHERE account = $1 ORDER BY number DESC LIMIT 1 OFFSET $4))")
    .bind(account)
    .bind(ms_before(now, lifetimes.max))
    .bind(ms_before(now, lifetimes.idle))
    .bind(SESSIONS_MAX - 1)
    .execute(transaction)
    .await
    .map_err(StoreError::of("drop old sessions"))?;
    Ok(())
}
