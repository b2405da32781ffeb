//! Who at which OpenID provider is which account.

use pushkeys_keys::{AccountId, AccountName};
use thiserror::Error;

use super::accounts::{Email, account_number};
use super::audit::{Actor, AuditEvent};
use super::columns::{account_id, now_ms};
use super::error::{StoreError, is_taken};
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret;

/// How much of what an identity is shown as is kept, in characters.
const SHOWN_CHARACTERS_MAX: usize = 100;

/// Who signed in at an OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The provider.
    pub(crate) issuer: String,
    /// By which it knows the person for ever.
    pub(crate) subject: String,
    /// What the person goes by there, to name a new account with.
    pub(crate) name: Option<String>,
    /// Where the person is reached, if the provider made sure of it.
    pub(crate) email: Option<String>,
}

/// Why an identity was not tied to an account.
#[derive(Debug, Error)]
pub(crate) enum TieError {
    /// Of another account, which the one that asks must not learn.
    #[error("this identity signs in to another account: unlink it there first")]
    OfAnotherAccount,
    /// Never adopted: the provider's names are not ours, and people may choose them.
    #[error("an account named `{}` exists already: sign in to it with its password and link it on its profile page", pushkeys_keys::escape(name.as_str()))]
    NameTaken { name: AccountName },
    /// It was removed meanwhile.
    #[error("this account no longer exists")]
    AccountGone,
    /// It would lock its owner out.
    #[error("this is the only way to sign in to this account: set a password first")]
    OnlyWay,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The account that `identity` signs in to.
    pub(crate) async fn account_of_identity(
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

    /// What `account` is shown as at `issuer`, if it is tied to somebody there.
    pub(crate) async fn identity_at(
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

    /// Lets `identity` sign in to `account`, in place of whoever did at the same provider.
    pub(crate) async fn tie_identity(
        &self,
        account: &AccountId,
        identity: &Identity,
        actor: &Actor,
    ) -> Result<(), TieError> {
        let mut transaction = self.begin_write().await?;
        let number = account_number(&mut transaction, account).await?.ok_or(TieError::AccountGone)?;
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

    /// A new account for `identity`, called `name`.
    pub(crate) async fn add_account_of_identity(
        &self,
        name: &AccountName,
        identity: &Identity,
        actor: &Actor,
    ) -> Result<AccountId, TieError> {
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
            Err(error) if is_taken(&error) => return Err(TieError::NameTaken { name: name.clone() }),
            Err(error) => return Err(StoreError::of("add an account")(error).into()),
        };
        self.tie(&mut transaction, number, identity, actor).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// Whoever signed in to `account` from `issuer` no longer does. `false`: nobody did.
    pub(crate) async fn untie_identity(
        &self,
        account: &AccountId,
        issuer: &str,
        actor: &Actor,
    ) -> Result<bool, TieError> {
        let mut transaction = self.begin_write().await?;
        let found: Option<(i64, Option<String>)> = sql("SELECT number, password FROM accounts WHERE id = $1")
            .bind(account.as_str())
            .fetch_optional(&mut transaction)
            .await
            .map_err(StoreError::of("find an account"))?;
        let (number, password) = found.ok_or(TieError::AccountGone)?;
        if password.is_none() {
            return Err(TieError::OnlyWay);
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
    ) -> Result<(), TieError> {
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
            Err(error) if is_taken(&error) => return Err(TieError::OfAnotherAccount),
            Err(error) => return Err(StoreError::of("tie an identity")(error).into()),
        }
        Ok(self.record(transaction, account, actor, AuditEvent::LinkAdded, &shown_as).await?)
    }
}

/// What people recognise the identity by.
fn shown(identity: &Identity) -> String {
    let host = identity.issuer.split('/').nth(2).unwrap_or_default();
    let name = identity.name.as_ref().or(identity.email.as_ref()).unwrap_or(&identity.subject);
    let text = format!("{name} ({host})");
    pushkeys_keys::escape(&text).chars().take(SHOWN_CHARACTERS_MAX).collect()
}
