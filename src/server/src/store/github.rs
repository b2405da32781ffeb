//! Links to GitHub accounts, and the keys imported from there.

use std::collections::HashSet;
use std::time::Duration;

use pushkeys_keys::{AccountId, Fingerprint, KeyId, KeyName, ValidKey};

use super::accounts::account_number;
use super::audit::{Actor, AuditEvent};
use super::changes::{KeyChange, Numbering};
use super::columns::{fingerprint, now_ms};
use super::error::StoreError;
use super::handle::Store;
use super::keys::owner;
use super::registration::{KeyToPut, PutKeyError, Registration};
use crate::database::{Transaction, sql};

/// The link of an account to one at GitHub.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GithubLink {
    /// GitHub's id of the account, which never changes.
    pub(crate) user: i64,
    /// Its login at the time of linking.
    pub(crate) login: String,
    /// The token that lists its keys, encrypted, since more people may read the database than the service's secret.
    pub(crate) encrypted_token: Vec<u8>,
}

/// Where keys are imported from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GithubOrigin {
    /// GitHub's id of the account, which never changes.
    pub(crate) user: i64,
    /// Its login at the time of linking.
    pub(crate) login: String,
}

/// A key listed by GitHub, to be registered. It replaces no other.
pub(crate) struct KeyFromGithub<'a> {
    pub(crate) name: &'a KeyName,
    pub(crate) key: &'a ValidKey,
    /// GitHub's id of it.
    pub(crate) github_key: i64,
}

/// The result of an import.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// A change for each key that was stored.
    pub(crate) changes: Vec<KeyChange>,
    /// The keys that were refused, by index, and why.
    pub(crate) refused: Vec<(usize, PutKeyError)>,
}

impl GithubLink {
    fn shown_as(&self) -> String {
        format!("{} (GitHub)", self.login)
    }
}

impl Store {
    /// The link of `account`.
    pub(crate) async fn github_link(&self, account: &AccountId) -> Result<Option<GithubLink>, StoreError> {
        let row: Option<(i64, String, Vec<u8>)> =
            sql("SELECT l.github_user, l.login, l.sealed_token FROM github_links l
             JOIN accounts a ON a.number = l.account WHERE a.id = $1")
            .bind(account.as_str())
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a link to GitHub"))?;
        Ok(row.map(|(user, login, encrypted_token)| GithubLink { user, login, encrypted_token }))
    }

    /// Links `account`; replaces an existing link. `false`: there is no such account.
    pub(crate) async fn set_github_link(
        &self,
        account: &AccountId,
        link: &GithubLink,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(false) };
        sql("INSERT INTO github_links (account, github_user, login, sealed_token, linked_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account) DO UPDATE SET github_user = excluded.github_user, login = excluded.login,
                 sealed_token = excluded.sealed_token, linked_at = excluded.linked_at, renewing_until = 0")
        .bind(number)
        .bind(link.user)
        .bind(&link.login)
        .bind(link.encrypted_token.as_slice())
        .bind(now_ms())
        .execute(&mut transaction)
        .await
        .map_err(StoreError::of("link an account to GitHub"))?;
        self.record(&mut transaction, number, actor, AuditEvent::LinkAdded, &link.shown_as()).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Lets the caller alone renew the token of `link`, for the time `lease`. `false`: another request is renewing it, or
    /// it was replaced.
    pub(crate) async fn begin_renewal(
        &self,
        account: &AccountId,
        link: &GithubLink,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let now = now_ms();
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let begun = sql("UPDATE github_links SET renewing_until = $1
             WHERE account = (SELECT number FROM accounts WHERE id = $2) AND sealed_token = $3
             AND renewing_until <= $4")
        .bind(now.saturating_add(lease_ms))
        .bind(account.as_str())
        .bind(link.encrypted_token.as_slice())
        .bind(now)
        .execute(&self.database)
        .await;
        Ok(begun.map_err(StoreError::of("begin to renew a token of GitHub"))? == 1)
    }

    /// Replaces the token of `link` by `encrypted`, if given, and ends the lease. A link that was replaced in the meantime
    /// is left alone.
    pub(crate) async fn end_renewal(
        &self,
        account: &AccountId,
        link: &GithubLink,
        encrypted: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let former = link.encrypted_token.as_slice();
        sql("UPDATE github_links SET sealed_token = $1, renewing_until = 0
             WHERE account = (SELECT number FROM accounts WHERE id = $2) AND sealed_token = $3")
        .bind(encrypted.unwrap_or(former))
        .bind(account.as_str())
        .bind(former)
        .execute(&self.database)
        .await
        .map_err(StoreError::of("renew a token of GitHub"))?;
        Ok(())
    }

    /// Removes the link of `account`, and returns it. Imported keys stay.
    pub(crate) async fn remove_github_link(
        &self,
        account: &AccountId,
        actor: &Actor,
    ) -> Result<Option<GithubLink>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, account).await? else { return Ok(None) };
        let row: Option<(i64, String, Vec<u8>)> =
            sql("DELETE FROM github_links WHERE account = $1 RETURNING github_user, login, sealed_token")
                .bind(number)
                .fetch_optional(&mut transaction)
                .await
                .map_err(StoreError::of("unlink an account from GitHub"))?;
        let Some((user, login, encrypted_token)) = row else { return Ok(None) };
        let link = GithubLink { user, login, encrypted_token };
        self.record(&mut transaction, number, actor, AuditEvent::LinkRemoved, &link.shown_as()).await?;
        self.commit(transaction).await?;
        Ok(Some(link))
    }

    /// Registers those of `keys` that `account` can have, and stores that they came from `origin`: in one transaction, with
    /// a row in the audit log for each and one mail for all.
    pub(crate) async fn import_from_github(
        &self,
        account: &AccountId,
        origin: &GithubOrigin,
        keys: &[KeyFromGithub<'_>],
        actor: &Actor,
    ) -> Result<Imported, PutKeyError> {
        let mut transaction = self.begin_write().await?;
        let owner = owner(&mut transaction, account).await?.ok_or(PutKeyError::AccountGone)?;
        forget_origins(&mut transaction, owner.number).await?;
        let (mut numbering, mut imported) = (Numbering::default(), Imported::default());
        let mut names = Vec::new();
        for (place, KeyFromGithub { name, key, github_key }) in keys.iter().enumerate() {
            let text = key.canonical_text();
            let wanted = KeyToPut { name, key, text, expires_at: None, may_replace: false };
            let wanted = Registration { is_mailed: false, ..Registration::of(account, &wanted, actor) };
            match self.put(&mut transaction, &owner, &wanted, &mut numbering).await {
                Ok(id) => {
                    remember_origin(&mut transaction, owner.number, &id, origin, *github_key).await?;
                    names.push(name.as_str());
                }
                Err(PutKeyError::Store(error)) => return Err(error.into()),
                Err(error) => imported.refused.push((place, error)),
            }
        }
        self.tell_of_import(&mut transaction, owner.number, actor, &names, Some(&origin.login)).await?;
        imported.changes = self.commit_changes(transaction, numbering, actor).await?;
        Ok(imported)
    }

    /// The keys of `account` that were imported from the GitHub account `user`.
    pub(crate) async fn keys_from_github(
        &self,
        account: &AccountId,
        user: i64,
    ) -> Result<HashSet<Fingerprint>, StoreError> {
        let digests: Vec<Vec<u8>> = sql("SELECT k.fingerprint FROM keys k
             JOIN accounts a ON a.number = k.account
             JOIN github_imports i ON i.key_id = k.id AND i.account = k.account
             WHERE a.id = $1 AND i.github_user = $2")
        .bind(account.as_str())
        .bind(user)
        .fetch_values(&self.database)
        .await
        .map_err(StoreError::of("list keys that came from GitHub"))?;
        digests.iter().map(|digest| fingerprint(digest)).collect()
    }
}

/// Removes the origins of keys that the account no longer has.
async fn forget_origins(transaction: &mut Transaction, account: i64) -> Result<(), StoreError> {
    sql("DELETE FROM github_imports WHERE account = $1
         AND key_id NOT IN (SELECT id FROM keys WHERE account = $1)")
    .bind(account)
    .execute(transaction)
    .await
    .map_err(StoreError::of("forget where keys came from"))?;
    Ok(())
}

async fn remember_origin(
    transaction: &mut Transaction,
    account: i64,
    key: &KeyId,
    origin: &GithubOrigin,
    github_key: i64,
) -> Result<(), StoreError> {
    sql("INSERT INTO github_imports (key_id, account, github_user, github_key, imported_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
    .bind(key.as_str())
    .bind(account)
    .bind(origin.user)
    .bind(github_key)
    .bind(now_ms())
    .execute(transaction)
    .await
    .map_err(StoreError::of("remember where a key came from"))?;
    Ok(())
}
