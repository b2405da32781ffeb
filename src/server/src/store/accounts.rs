//! Accounts.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use lettre::Address;
use lettre::address::AddressError;
use pushkeys_keys::{AccountId, AccountName, Hint, Name};
use thiserror::Error;

use super::audit::Actor;
use super::changes::{KeyChange, Numbering, TakenKey};
use super::columns::{account_id, account_name, from_sql, instant, now_ms};
use super::error::{StoreError, is_taken};
use super::handle::Store;
use crate::database::{Transaction, sql};
use crate::secret;

/// An account, as operators list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    /// Unique.
    pub(crate) name: Name,
    pub(crate) email: Option<Email>,
    pub(crate) created_at: Timestamp,
    /// The number of its keys.
    pub(crate) keys: u64,
}

/// A mail address. One that is parsed is such that a mail to it can be made; one that an older version stored is printable
/// text with an `@` inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email(Name);

/// Why a text is not a mail address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a mail address", pushkeys_keys::escape(.0))]
pub(crate) struct ParseEmailError(String);

impl Email {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn stored(text: &str) -> Option<Self> {
        let name = Name::parse(text).ok()?;
        let (local, domain) = name.as_str().split_once('@')?;
        let is_address = !local.is_empty() && !domain.is_empty() && !text.contains(' ');
        is_address.then_some(Self(name))
    }
}

/// The address in `text` as mail servers take it: an internationalised domain in its ASCII form (RFC 5891). What stands
/// before the `@` has no such form.
pub(crate) fn mail_address(text: &str) -> Result<Address, AddressError> {
    let address: Address = text.parse()?;
    if address.domain().is_ascii() {
        return Ok(address);
    }
    let domain = idna::domain_to_ascii_strict(address.domain()).map_err(|_| AddressError::InvalidDomain)?;
    Address::new(address.user(), domain)
}

impl FromStr for Email {
    type Err = ParseEmailError;

    fn from_str(text: &str) -> Result<Self, ParseEmailError> {
        let stored = Self::stored(text).filter(|_| mail_address(text).is_ok());
        stored.ok_or_else(|| ParseEmailError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Email {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// Why an account was not added.
#[derive(Debug, Error)]
pub(crate) enum AddAccountError {
    #[error("an account with this id or the name `{}` exists", name.as_str())]
    Taken {
        name: AccountName,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

type AccountRow = (String, String, Option<String>, i64, i64);

impl Store {
    /// Adds an account, with a new id if none is given.
    pub(crate) async fn add_account(
        &self,
        name: &AccountName,
        email: Option<&Email>,
        id: Option<AccountId>,
    ) -> Result<AccountId, AddAccountError> {
        let id = id.map_or_else(secret::new_account_id, Ok).map_err(StoreError::from)?;
        let added = sql("INSERT INTO accounts (id, name, email, created_at) VALUES ($1, $2, $3, $4)")
            .bind(id.as_str())
            .bind(name.as_str())
            .bind(email.map(Email::as_str))
            .bind(now_ms())
            .execute(&self.database)
            .await;
        match added {
            Ok(_) => Ok(id),
            Err(error) if is_taken(&error) => Err(AddAccountError::Taken {
                name: name.clone(),
                hint: Hint::new("pushkeys-server account list"),
            }),
            Err(error) => Err(StoreError::of("add an account")(error).into()),
        }
    }

    /// At most `limit` accounts in the order of their names, after the name `after`.
    pub(crate) async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<AccountRow> = sql(
            "SELECT a.id, a.name, a.email, a.created_at, (SELECT count(*) FROM keys k WHERE k.account = a.number)
             FROM accounts a WHERE a.name > $1 ORDER BY a.name LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list accounts"))?;
        rows.into_iter().map(account).collect()
    }

    /// The account with the id `wanted`, or else with that name, in any spelling.
    pub(crate) async fn account(&self, wanted: &str) -> Result<Option<Account>, StoreError> {
        let row: Option<AccountRow> = sql(
            "SELECT a.id, a.name, a.email, a.created_at, (SELECT count(*) FROM keys k WHERE k.account = a.number)
             FROM accounts a WHERE a.id = $1 OR a.name = $1 OR a.name = $2
             ORDER BY (a.id = $1) DESC, (a.name = $1) DESC LIMIT 1",
        )
        .bind(wanted)
        .bind(AccountName::spelling(wanted))
        .fetch_optional(&self.database)
        .await
        .map_err(StoreError::of("find an account"))?;
        row.map(account).transpose()
    }

    /// Removes the account with its tokens and keys; returns the changes for hosts. `None`: there is no such account.
    pub(crate) async fn remove_account(&self, id: &AccountId) -> Result<Option<Vec<KeyChange>>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(number) = account_number(&mut transaction, id).await? else { return Ok(None) };
        let rows: Vec<(String, Vec<u8>, String)> =
            sql("DELETE FROM keys WHERE account = $1 RETURNING id, fingerprint, entry")
                .bind(number)
                .fetch_all(&mut transaction)
                .await
                .map_err(StoreError::of("remove an account's keys"))?;
        sql("DELETE FROM accounts WHERE number = $1")
            .bind(number)
            .execute(&mut transaction)
            .await
            .map_err(StoreError::of("remove an account"))?;
        let mut numbering = Numbering::default();
        for row in rows {
            numbering.remove(id.clone(), TakenKey::of(row)?);
        }
        Ok(Some(self.commit_changes(transaction, numbering, &Actor::operator()).await?))
    }
}

/// The number of the account `id`, by which other tables reference it.
pub(super) async fn account_number(
    transaction: &mut Transaction,
    id: &AccountId,
) -> Result<Option<i64>, StoreError> {
    sql("SELECT number FROM accounts WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional_value(transaction)
        .await
        .map_err(StoreError::of("find an account"))
}

fn account((id, name, email, created_at, keys): AccountRow) -> Result<Account, StoreError> {
    let email = email
        .map(|email| Email::stored(&email).ok_or_else(|| StoreError::malformed("an account's mail address")));
    Ok(Account {
        id: account_id(&id)?,
        name: account_name(&name)?,
        email: email.transpose()?,
        created_at: instant(created_at)?,
        keys: from_sql(keys)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_can_be_made_to_every_address() {
        let check = |text: &str, sent: &str| {
            assert_eq!(text.parse::<Email>().unwrap().as_str(), text);
            assert_eq!(mail_address(text).unwrap().to_string(), sent);
        };
        check("ana@example.com", "ana@example.com");
        check("ana+keys@[192.0.2.1]", "ana+keys@[192.0.2.1]");
        check("ana@bücher.example", "ana@xn--bcher-kva.example");
        check("josé@例え.example", "josé@xn--r8jz45g.example");
        for text in ["", "ana", "@example.com", "ana@", "a na@example.com", "ana@example.com\nBcc: x@y"] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
        for text in [
            "ana..b@example.com",
            "ana@b@example.com",
            "ana@exa_mple..com",
            "ana@-ü.example",
            "<ana@example.com>",
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
            assert!(mail_address(text).is_err(), "{text:?}");
        }
        // An older version took it: it is shown, and only its own mails fail.
        assert!(Email::stored("ana..b@example.com").is_some());
    }
}
