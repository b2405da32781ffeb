//! Tokens of accounts.

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Name};

use super::accounts::account_number;
use super::audit::{Actor, AuditEvent};
use super::columns::{account_id, instant, now_ms};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret::TokenDigest;

/// A new credential: a bearer token and an OAuth token, which are revoked together.
pub(crate) struct NewToken<'a> {
    pub(crate) id: &'a str,
    /// The digest of the bearer token.
    pub(crate) bearer: TokenDigest,
    /// The public half of the OAuth credential.
    pub(crate) oauth_token: &'a str,
    pub(crate) expires_at: Option<Timestamp>,
}

/// A credential, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    pub(crate) id: String,
    pub(crate) label: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

/// A credential that a request was authenticated by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenUse {
    pub(crate) account: AccountId,
    pub(crate) label: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
}

type UseRow = (String, Option<String>, Option<i64>);

impl Store {
    /// Adds a credential to `account`. `false`: there is no such account.
    pub(crate) async fn add_token(
        &self,
        account: &AccountId,
        token: &NewToken<'_>,
        label: Option<&Name>,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        let label = label.map(Name::as_str);
        insert_token(&mut transaction, number, token, label).await?;
        let subject = label.unwrap_or_default();
        self.record(&mut transaction, number, actor, AuditEvent::TokenAdded, subject).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// The credentials of `account`, oldest first.
    pub(crate) async fn tokens(&self, account: &AccountId) -> Result<Vec<TokenInfo>, StoreError> {
        let rows: Vec<(String, Option<String>, i64, Option<i64>)> =
            sql("SELECT t.id, t.label, t.created_at, t.expires_at
             FROM tokens t JOIN accounts a ON a.number = t.account
             WHERE a.id = $1 ORDER BY t.created_at, t.id")
            .bind(account.as_str())
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list tokens"))?;
        rows.into_iter()
            .map(|(id, label, created_at, expires_at)| {
                let expires_at = expires_at.map(instant).transpose()?;
                Ok(TokenInfo { id, label, created_at: instant(created_at)?, expires_at })
            })
            .collect()
    }

    /// Revokes the credential `id`, if it belongs to `account`, where that is given. `false`: there is no such credential.
    pub(crate) async fn revoke_token(
        &self,
        account: Option<&AccountId>,
        id: &str,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row: Option<(i64, Option<String>)> = sql(
            "DELETE FROM tokens WHERE id = $1
             AND account IN (SELECT number FROM accounts WHERE id = COALESCE($2, id)) RETURNING account, label",
        )
        .bind(id)
        .bind(account.map(AccountId::as_str))
        .fetch_optional(&mut transaction)
        .await
        .map_err(StoreError::of("revoke a token"))?;
        let Some((number, label)) = row else { return Ok(false) };
        let label = label.unwrap_or_default();
        self.record(&mut transaction, number, actor, AuditEvent::TokenRevoked, &label).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// The credential whose bearer token has this digest.
    pub(crate) async fn token_by_bearer(&self, digest: TokenDigest) -> Result<Option<TokenUse>, StoreError> {
        let row: Option<UseRow> =
            sql("SELECT a.id, t.label, t.expires_at FROM tokens t JOIN accounts a ON a.number = t.account
             WHERE t.bearer_sha256 = $1")
            .bind(digest.as_bytes())
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a token"))?;
        unexpired(row)
    }

    /// The credential with this OAuth token. The token is public, so the client still has to prove that it knows the secret.
    pub(crate) async fn token_by_oauth(&self, oauth_token: &str) -> Result<Option<TokenUse>, StoreError> {
        let row: Option<UseRow> =
            sql("SELECT a.id, t.label, t.expires_at FROM tokens t JOIN accounts a ON a.number = t.account
             WHERE t.oauth_token = $1")
            .bind(oauth_token)
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a token"))?;
        unexpired(row)
    }
}

/// Stores `token` for the account of number `account`.
pub(super) async fn insert_token(
    transaction: &mut Transaction,
    account: i64,
    token: &NewToken<'_>,
    label: Option<&str>,
) -> Result<(), StoreError> {
    sql("INSERT INTO tokens (id, account, label, bearer_sha256, oauth_token, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
    .bind(token.id)
    .bind(account)
    .bind(label)
    .bind(token.bearer.as_bytes())
    .bind(token.oauth_token)
    .bind(now_ms())
    .bind(token.expires_at.map(Timestamp::as_millisecond))
    .execute(transaction)
    .await
    .map_err(StoreError::of("add a token"))?;
    Ok(())
}

/// An expired credential is not found.
fn unexpired(row: Option<UseRow>) -> Result<Option<TokenUse>, StoreError> {
    let Some((account, label, expires_at)) = row else { return Ok(None) };
    if expires_at.is_some_and(|expires_at| expires_at <= now_ms()) {
        return Ok(None);
    }
    let expires_at = expires_at.map(instant).transpose()?;
    Ok(Some(TokenUse { account: account_id(&account)?, label, expires_at }))
}
