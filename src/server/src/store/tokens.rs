//! Credentials of accounts.

use ::keys::{AccountId, Name};
use jiff::Timestamp;

use super::accounts::{account_id, account_number};
use super::sql::sql;
use super::{Store, StoreError, instant, now_ms};
use crate::secret::TokenDigest;

/// A credential to be stored: one bearer token and one OAuth token, revoked together.
pub struct NewToken<'a> {
    /// By which it is listed and revoked.
    pub id: &'a str,
    /// What its owner calls it.
    pub label: Option<&'a Name>,
    /// Of the bearer token.
    pub bearer: TokenDigest,
    /// The public half of the OAuth credential.
    pub oauth_token: &'a str,
}

/// A credential, as a sysadmin lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// By which it is revoked.
    pub id: String,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Store {
    /// Adds a credential to `account`. `false`: there is no such account.
    pub async fn add_token(&self, account: &AccountId, token: &NewToken<'_>) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        sql("INSERT INTO tokens (id, account, label, bearer_sha256, oauth_token, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(token.id)
        .bind(number)
        .bind(token.label.map(Name::as_str))
        .bind(token.bearer.as_bytes())
        .bind(token.oauth_token)
        .bind(now_ms())
        .execute(&mut transaction)
        .await
        .map_err(StoreError::of("add a token"))?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// The credentials of `account`, oldest first.
    pub async fn tokens(&self, account: &AccountId) -> Result<Vec<TokenInfo>, StoreError> {
        let rows: Vec<(String, Option<String>, i64)> =
            sql("SELECT t.id, t.label, t.created_at FROM tokens t JOIN accounts a ON a.number = t.account
             WHERE a.id = $1 ORDER BY t.created_at, t.id")
            .bind(account.as_str())
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list tokens"))?;
        rows.into_iter()
            .map(|(id, label, created_at)| Ok(TokenInfo { id, label, created_at: instant(created_at)? }))
            .collect()
    }

    /// Makes the credential worthless from now on. `false`: there is no such credential.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let done = sql("DELETE FROM tokens WHERE id = $1").bind(id).execute(&self.database).await;
        Ok(done.map_err(StoreError::of("revoke a token"))? > 0)
    }

    /// Whose bearer token has this digest.
    pub async fn account_of_bearer(&self, digest: TokenDigest) -> Result<Option<AccountId>, StoreError> {
        let id: Option<String> = sql(
            "SELECT a.id FROM tokens t JOIN accounts a ON a.number = t.account WHERE t.bearer_sha256 = $1",
        )
        .bind(digest.as_bytes())
        .fetch_optional_value(&self.database)
        .await
        .map_err(StoreError::of("look up a token"))?;
        id.as_deref().map(account_id).transpose()
    }

    /// Whose OAuth token it is. The token is public: whoever asks has yet to prove that he knows its secret.
    pub async fn account_of_oauth_token(&self, oauth_token: &str) -> Result<Option<AccountId>, StoreError> {
        let id: Option<String> =
            sql("SELECT a.id FROM tokens t JOIN accounts a ON a.number = t.account WHERE t.oauth_token = $1")
                .bind(oauth_token)
                .fetch_optional_value(&self.database)
                .await
                .map_err(StoreError::of("look up a token"))?;
        id.as_deref().map(account_id).transpose()
    }
}
