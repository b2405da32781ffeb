//! Identities at OpenID providers, and the accounts that they sign in to.

use pushkeys_keys::{AccountId, AccountName};
use thiserror::Error;

use super::accounts::{Email, account_number};
use super::audit::{Actor, AuditEvent};
use super::columns::{account_id, now_ms};
use super::error::{StoreError, is_taken};
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret;

/// The longest display text of an identity, in characters.
const SHOWN_CHARACTERS_MAX: usize = 100;

/// A user of an OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) issuer: String,
    /// The provider's id of the user, which never changes.
    pub(crate) subject: String,
    /// The user's name there, used for a new account.
    pub(crate) name: Option<String>,
    /// The mail address, if the provider verified it.
    pub(crate) email: Option<String>,
}

/// Why an identity was not linked to an account.
#[derive(Debug, Error)]
pub(crate) enum SetIdentityError {
    /// The message must not say to which.
    #[error("this identity signs in to another account: unlink it there first")]
    OfAnotherAccount,
    /// An existing account is never adopted by name, since users may choose their names at the provider.
    #[error("an account named `{}` exists already: sign in to it with its password and link it on its profile page", pushkeys_keys::escape(name.as_str()))]
    NameTaken { name: AccountName },
    #[error("this account no longer exists")]
    AccountGone,
    /// Its owner would be locked out.
    #[error("this is the only way to sign in to this account: set a password first")]
    OnlyWay,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The account that `identity` signs in to.
    pub(crate) async fn account_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<AccountId>, StoreError> {
        let id: Option<String> = sql("SELECT a.id FROM oidc_identities o
             JOIN accounts a ON a.number = o.account WHERE o.issuer = $1 AND o.subject = $2")
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .fetch_optional_value(&self.database)
        .await
        .map_err(StoreError::of("look up an identity"))?;
        id.as_deref().map(account_id).transpose()
    }

    /// The display text of the identity at `issuer` that is linked to `account`.
    pub(crate) async fn identity(
        &self,
        account: &AccountId,
        issuer: &str,
    ) -> Result<Option<String>, StoreError> {
        sql("SELECT o.shown_as FROM oidc_identities o
             JOIN accounts a ON a.number = o.account WHERE a.id = $1 AND o.issuer = $2")
        .bind(account.as_str())
        .bind(issuer)
        .fetch_optional_value(&self.database)
        .await
        .map_err(StoreError::of("look up an account's identity"))
    }

    /// Links `identity` to `account`; replaces another identity at the same provider.
    pub(crate) async fn set_identity(
        &self,
        account: &AccountId,
        identity: &Identity,
        actor: &Actor,
    ) -> Result<(), SetIdentityError> {
        let mut transaction = self.begin_write().await?;
        let number = account_number(&mut transaction, account).await?.ok_or(SetIdentityError::AccountGone)?;
        sql("DELETE FROM oidc_identities WHERE account = $1 AND issuer = $2")
            .bind(number)
            .bind(&identity.issuer)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("replace an identity"))?;
        self.tie(&mut transaction, number, identity, actor).await?;
        self.commit(transaction).await?;
        Ok(())
    }

    /// Adds an account called `name` for `identity`.
    pub(crate) async fn add_account_of_identity(
        &self,
        name: &AccountName,
        identity: &Identity,
        actor: &Actor,
    ) -> Result<AccountId, SetIdentityError> {
        let id = secret::new_account_id().map_err(StoreError::from)?;
        let email = identity.email.as_deref().and_then(|email| email.parse::<Email>().ok());
        let mut transaction = self.begin_write().await?;
        let added = sql("INSERT INTO accounts (id, name, email, created_at) VALUES ($1, $2, $3, $4)
             RETURNING number")
        .bind(id.as_str())
        .bind(name.as_str())
        .bind(email.as_ref().map(Email::as_str))
        .bind(now_ms())
        .fetch_value(&mut transaction)
        .await;
        let number: i64 = match added {
            Ok(number) => number,
            Err(error) if is_taken(&error) => return Err(SetIdentityError::NameTaken { name: name.clone() }),
            Err(error) => return Err(StoreError::of("add an account")(error).into()),
        };
        self.tie(&mut transaction, number, identity, actor).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// Unlinks the identity at `issuer` from `account`. `false`: there is none.
    pub(crate) async fn remove_identity(
        &self,
        account: &AccountId,
        issuer: &str,
        actor: &Actor,
    ) -> Result<bool, SetIdentityError> {
        let mut transaction = self.begin_write().await?;
        let found: Option<(i64, Option<String>)> = sql("SELECT number, password FROM accounts WHERE id = $1")
            .bind(account.as_str())
            .fetch_optional(&mut transaction)
            .await
            .map_err(StoreError::of("find an account"))?;
        let (number, password) = found.ok_or(SetIdentityError::AccountGone)?;
        if password.is_none() {
            return Err(SetIdentityError::OnlyWay);
        }
        let shown_as: Option<String> =
            sql("DELETE FROM oidc_identities WHERE account = $1 AND issuer = $2 RETURNING shown_as")
                .bind(number)
                .bind(issuer)
                .fetch_optional_value(&mut transaction)
                .await
                .map_err(StoreError::of("remove an identity"))?;
        let Some(shown_as) = shown_as else { return Ok(false) };
        self.record(&mut transaction, number, actor, AuditEvent::LinkRemoved, &shown_as).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    async fn tie(
        &self,
        transaction: &mut Transaction,
        account: i64,
        identity: &Identity,
        actor: &Actor,
    ) -> Result<(), SetIdentityError> {
        let shown_as = shown(identity);
        let tied = sql("INSERT INTO oidc_identities (issuer, subject, account, shown_as, linked_at)
             VALUES ($1, $2, $3, $4, $5)")
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .bind(account)
        .bind(&shown_as)
        .bind(now_ms())
        .execute(&mut *transaction)
        .await;
        match tied {
            Ok(_) => {}
            Err(error) if is_taken(&error) => return Err(SetIdentityError::OfAnotherAccount),
            Err(error) => return Err(StoreError::of("link an identity")(error).into()),
        }
        Ok(self.record(transaction, account, actor, AuditEvent::LinkAdded, &shown_as).await?)
    }
}

/// The display text of the identity.
fn shown(identity: &Identity) -> String {
    let host = identity.issuer.split('/').nth(2).unwrap_or_default();
    let name = identity.name.as_ref().or(identity.email.as_ref()).unwrap_or(&identity.subject);
    let text = format!("{name} ({host})");
    pushkeys_keys::escape(&text).chars().take(SHOWN_CHARACTERS_MAX).collect()
}
