//! Logins of the command line (`clever login`), which a user approves in a browser.

use std::time::Duration;

use pushkeys_keys::{AccountId, Name};

use super::accounts::account_number;
use super::audit::{Actor, AuditEvent};
use super::columns::now_ms;
use super::error::StoreError;
use super::handle::Store;
use super::tokens::{NewToken, insert_token};
use crate::database::sql;
use crate::secret::TokenDigest;

/// How long an approval is valid: the command line polls for two minutes.
const APPROVAL_AGE_MAX: Duration = Duration::from_mins(5);
/// The most pending approvals of an account.
const APPROVALS_MAX: u32 = 10;

impl Store {
    /// Lets the client that knows the token of `digest` fetch a credential of `account`, once. `false`: too many are
    /// pending, the account is gone, or the token was approved before.
    pub(crate) async fn approve_cli_login(
        &self,
        account: &AccountId,
        digest: TokenDigest,
        label: &Name,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        let now = now_ms();
        sql("DELETE FROM cli_logins WHERE expires_at <= $1")
            .bind(now)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("drop old approvals"))?;
        let added = sql("INSERT INTO cli_logins (token_sha256, account, label, expires_at)
             SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM cli_logins WHERE account = $2) < $5
             ON CONFLICT (token_sha256) DO NOTHING")
        .bind(digest.as_bytes())
        .bind(number)
        .bind(label.as_str())
        .bind(now.saturating_add_unsigned(APPROVAL_AGE_MAX.as_secs() * 1_000))
        .bind(APPROVALS_MAX)
        .execute(&mut transaction)
        .await
        .map_err(StoreError::of("approve a login"))?;
        self.commit(transaction).await?;
        Ok(added > 0)
    }

    /// Whether the token of `digest` was approved, which costs less than fetching.
    pub(crate) async fn is_cli_login_approved(&self, digest: TokenDigest) -> Result<bool, StoreError> {
        let found: Option<i64> = sql("SELECT expires_at FROM cli_logins WHERE token_sha256 = $1")
            .bind(digest.as_bytes())
            .fetch_optional_value(&self.database)
            .await
            .map_err(StoreError::of("look up an approval"))?;
        Ok(found.is_some_and(|expires_at| expires_at > now_ms()))
    }

    /// Stores `token`, the approved credential. `false`: it was not approved, or fetched before.
    pub(crate) async fn take_cli_login(
        &self,
        digest: TokenDigest,
        token: &NewToken<'_>,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let approved: Option<(i64, String)> = sql(
            "DELETE FROM cli_logins WHERE token_sha256 = $1 AND expires_at > $2 RETURNING account, label",
        )
        .bind(digest.as_bytes())
        .bind(now_ms())
        .fetch_optional(&mut transaction)
        .await
        .map_err(StoreError::of("use an approval"))?;
        let Some((number, label)) = approved else { return Ok(false) };
        insert_token(&mut transaction, number, token, Some(&label)).await?;
        self.record(&mut transaction, number, actor, AuditEvent::TokenAdded, &label).await?;
        self.commit(transaction).await?;
        Ok(true)
    }
}
