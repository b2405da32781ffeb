//! Registering keys: which account has a key, whether it may have another, and what is recorded.

use pushkeys_feed::Entry;
use std::iter;

use pushkeys_keys::{
    AccountId, AccountName, Algorithm, Expiry, Fingerprint, KeyId, KeyName, ValidKey, shared_factors,
};
use thiserror::Error;

use super::audit::{Actor, AuditEvent};
use super::changes::{KeyChange, Numbering};
use super::columns::{key_id, now_ms, to_sql};
use super::compromised::is_compromised;
use super::error::StoreError;
use super::handle::Store;
use super::key_facts::KeyFacts;
use super::keys::{Owner, owner, take_key};
use super::warnings::{WarningKind, warn};
use crate::database::{Transaction, sql};
use crate::secret;

/// A key to be registered.
pub(crate) struct KeyToPut<'a> {
    pub(crate) name: &'a KeyName,
    pub(crate) key: &'a ValidKey,
    /// The text as the user sent it, one line.
    pub(crate) text: &'a str,
    /// When hosts begin to refuse it.
    pub(crate) expires_at: Option<Expiry>,
    /// Whether it replaces another key of the name.
    pub(crate) may_replace: bool,
}

/// Why a key was not stored. The messages are for the user.
#[derive(Debug, Error)]
pub(crate) enum PutKeyError {
    /// The message must not say which.
    #[error(
        "this key is registered to another account, and a key belongs to one account only: remove it there, prove that it is yours with a POST to …/challenge, or make a new key with `ssh-keygen -t ed25519`"
    )]
    OfAnotherAccount,
    /// A second name would suggest that removing one of the two revokes the key.
    #[error(
        "this key is already registered under the name `{}`: remove that one first to give it another name",
        pushkeys_keys::escape(name)
    )]
    UnderAnotherName {
        /// The name in the same account.
        name: String,
    },
    #[error("another key of this account has this name: remove that one first, or choose another name")]
    NameTaken,
    #[error(
        "this account already has {max} keys, which is the most it may have: remove one that is no longer used"
    )]
    TooMany { max: u64 },
    #[error(
        "this key was reported as compromised and cannot be registered again: make a new one with `ssh-keygen -t ed25519`"
    )]
    Compromised,
    /// Neither key is safe, and removing the other one does not change that.
    #[error(
        "this RSA key shares a prime factor with another key of this account, so anyone can break both of them: make new keys with `ssh-keygen -t ed25519`, and remove the other one"
    )]
    SharedFactor,
    /// For another challenge, too late, or for the second time.
    #[error(
        "there is no open challenge for this signature: request one with a POST to …/challenge, and sign it within 10 minutes"
    )]
    NoChallenge,
    #[error("this account no longer exists")]
    AccountGone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Registers `wanted` to `account`. Returns the changes for hosts, which are none if nothing changes for them. If another
    /// account has the key, both are warned.
    pub(crate) async fn put_key(
        &self,
        account: &AccountId,
        wanted: &KeyToPut<'_>,
        actor: &Actor,
    ) -> Result<Vec<KeyChange>, PutKeyError> {
        let mut transaction = self.begin_write().await?;
        let owner = owner(&mut transaction, account).await?.ok_or(PutKeyError::AccountGone)?;
        let mut numbering = Numbering::default();
        let wanted = Registration::of(account, wanted, actor);
        let put = self.put(&mut transaction, &owner, &wanted, &mut numbering).await;
        if let Err(error) = put {
            // The warnings of an ownership conflict are kept; nothing else was written.
            if matches!(error, PutKeyError::OfAnotherAccount) {
                self.commit(transaction).await?;
            }
            return Err(error);
        }
        Ok(self.commit_changes(transaction, numbering, actor).await?)
    }

    /// Stores the key, or the warnings of an ownership conflict; returns the key's id.
    pub(super) async fn put(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        wanted: &Registration<'_>,
        numbering: &mut Numbering,
    ) -> Result<KeyId, PutKeyError> {
        let fingerprint = wanted.key.fingerprint();
        if is_compromised(transaction, fingerprint).await? {
            return Err(PutKeyError::Compromised);
        }
        match holder(transaction, owner, fingerprint).await? {
            Holder::NoAccount => self.register(transaction, owner, wanted, numbering).await,
            Holder::Owner { name: held, key_id } if is_called(&held, wanted.name) => {
                Ok(self.renew(transaction, owner, key_id, wanted, numbering).await?)
            }
            Holder::Owner { name, .. } => Err(PutKeyError::UnderAnotherName { name }),
            Holder::Other { account, name: held } => {
                let kind = WarningKind::Contested;
                warn(transaction, account, kind, fingerprint, &held, None).await?;
                let name = wanted.name.as_str();
                warn(transaction, owner.number, kind, fingerprint, name, Some(wanted.text)).await?;
                self.note(transaction, owner, wanted, AuditEvent::KeyContested).await?;
                Err(PutKeyError::OfAnotherAccount)
            }
        }
    }

    /// Stores a key that no account has; returns its id.
    pub(super) async fn register(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        wanted: &Registration<'_>,
        numbering: &mut Numbering,
    ) -> Result<KeyId, PutKeyError> {
        if !wanted.may_replace {
            check_name(transaction, owner, wanted.name).await?;
        }
        match take_key(transaction, owner, wanted.name.as_str()).await? {
            Some(taken) => {
                self.note(transaction, owner, wanted, AuditEvent::KeyRemoved).await?;
                numbering.remove(wanted.account.clone(), taken);
            }
            None => self.check_room(transaction, owner).await?,
        }
        if wanted.key.algorithm() == Algorithm::Rsa {
            check_factors(transaction, owner, wanted.key).await?;
        }
        let id = secret::new_key_id().map_err(StoreError::from)?;
        let new = wanted.entry(id.clone(), &owner.name)?;
        new.insert(transaction, owner, wanted).await?;
        numbering.put(wanted.account.clone(), new.id, new.fingerprint, new.entry);
        let is_proved = wanted.verified_at.is_some();
        let event = if is_proved { AuditEvent::KeyProved } else { AuditEvent::KeyAdded };
        self.note(transaction, owner, wanted, event).await?;
        Ok(id)
    }

    /// Stores comment and expiry of a key that the account has under this name; returns its id.
    async fn renew(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        key_id: KeyId,
        wanted: &Registration<'_>,
        numbering: &mut Numbering,
    ) -> Result<KeyId, StoreError> {
        let new = wanted.entry(key_id.clone(), &owner.name)?;
        // Comments do not concern hosts.
        if let Some(before) = new.replace(transaction, wanted).await? {
            numbering.replace(&before);
            self.note(transaction, owner, wanted, AuditEvent::KeyChanged).await?;
            numbering.put(wanted.account.clone(), new.id, new.fingerprint, new.entry);
        }
        Ok(key_id)
    }

    async fn note(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        Registration { actor, name, is_mailed, .. }: &Registration<'_>,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        if *is_mailed {
            self.record(transaction, owner.number, actor, event, name.as_str()).await
        } else {
            self.record_silently(transaction, actor, &[(owner.number, event, name.as_str())]).await
        }
    }

    async fn check_room(&self, transaction: &mut Transaction, owner: &Owner) -> Result<(), PutKeyError> {
        let max = self.limits.keys_per_account_max;
        let held: i64 = sql("SELECT count(*) FROM keys WHERE account = $1")
            .bind(owner.number)
            .fetch_value(transaction)
            .await
            .map_err(StoreError::of("count an account's keys"))?;
        if held < to_sql(max) { Ok(()) } else { Err(PutKeyError::TooMany { max }) }
    }
}

async fn check_name(transaction: &mut Transaction, owner: &Owner, name: &KeyName) -> Result<(), PutKeyError> {
    let found: Option<i64> = sql("SELECT number FROM keys WHERE account = $1 AND name = $2")
        .bind(owner.number)
        .bind(name.as_str())
        .fetch_optional_value(transaction)
        .await
        .map_err(StoreError::of("look up a name"))?;
    if found.is_some() { Err(PutKeyError::NameTaken) } else { Ok(()) }
}

/// Refuses an RSA key that shares a factor with another one of the account, as keys do that a device made without enough
/// randomness.
async fn check_factors(
    transaction: &mut Transaction,
    owner: &Owner,
    key: &ValidKey,
) -> Result<(), PutKeyError> {
    let others: Vec<String> = sql("SELECT text FROM keys WHERE account = $1 AND text LIKE 'ssh-rsa %'")
        .bind(owner.number)
        .fetch_values(transaction)
        .await
        .map_err(StoreError::of("list an account's keys"))?;
    let keys = iter::once(key.canonical_text()).chain(others.iter().map(String::as_str));
    if shared_factors(keys).contains(&key.fingerprint()) { Err(PutKeyError::SharedFactor) } else { Ok(()) }
}

/// A registration: what is to be stored, by whom.
pub(super) struct Registration<'a> {
    pub(super) account: &'a AccountId,
    pub(super) name: &'a KeyName,
    pub(super) key: &'a ValidKey,
    pub(super) text: &'a str,
    pub(super) expires_at: Option<Expiry>,
    pub(super) verified_at: Option<i64>,
    pub(super) actor: &'a Actor,
    pub(super) may_replace: bool,
    /// Whether a mail is sent about it.
    pub(super) is_mailed: bool,
}

impl<'a> Registration<'a> {
    pub(super) fn of(account: &'a AccountId, wanted: &KeyToPut<'a>, actor: &'a Actor) -> Self {
        let KeyToPut { name, key, text, expires_at, may_replace } = *wanted;
        Self { account, name, key, text, expires_at, verified_at: None, actor, may_replace, is_mailed: true }
    }

    fn entry(&self, id: KeyId, account_name: &str) -> Result<NewKey, StoreError> {
        NewKey::of(id, self.account, account_name, self.name, self.key, self.expires_at)
    }

    fn expires_at_ms(&self) -> Option<i64> {
        self.expires_at.map(Expiry::as_millisecond)
    }
}

/// Whether a key that is stored under the name `held`, which may be older than the rules, is called `name`.
pub(super) fn is_called(held: &str, name: &KeyName) -> bool {
    held == name.as_str() || KeyName::spelling(held) == name.as_str()
}

/// The account that has a key, and the key's name there.
pub(super) enum Holder {
    NoAccount,
    Owner { name: String, key_id: KeyId },
    Other { account: i64, name: String },
}

pub(super) async fn holder(
    transaction: &mut Transaction,
    owner: &Owner,
    fingerprint: Fingerprint,
) -> Result<Holder, StoreError> {
    let found: Option<(i64, String, String)> =
        sql("SELECT account, name, id FROM keys WHERE fingerprint = $1")
            .bind(fingerprint.as_bytes().as_slice())
            .fetch_optional(transaction)
            .await
            .map_err(StoreError::of("look up a key"))?;
    Ok(match found {
        None => Holder::NoAccount,
        Some((account, name, id)) if account == owner.number => Holder::Owner { name, key_id: key_id(&id)? },
        Some((account, name, _)) => Holder::Other { account, name },
    })
}

/// A key with its id and its entry for hosts.
pub(super) struct NewKey {
    pub(super) id: KeyId,
    pub(super) fingerprint: Fingerprint,
    pub(super) entry: String,
    pub(super) facts: KeyFacts,
}

impl NewKey {
    pub(super) fn of(
        id: KeyId,
        account: &AccountId,
        account_name: &str,
        name: &KeyName,
        key: &ValidKey,
        expires_at: Option<Expiry>,
    ) -> Result<Self, StoreError> {
        let fingerprint = key.fingerprint();
        let entry = Entry {
            fingerprint,
            key: key.canonical_text().to_owned(),
            account: account.clone(),
            key_id: id.clone(),
            account_name: AccountName::nearest(account_name),
            name: Some(name.clone()),
            logins: None,
            expires_at,
        };
        let entry = String::from_utf8(entry.to_json()).map_err(|_| StoreError::malformed("a name"))?;
        Ok(Self { id, fingerprint, entry, facts: KeyFacts::of(key) })
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        sql("INSERT INTO keys
                 (fingerprint, account, id, name, text, entry, created_at, verified_at, expires_at, algorithm, bits)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind(self.fingerprint.as_bytes().as_slice())
        .bind(owner.number)
        .bind(self.id.as_str())
        .bind(registration.name.as_str())
        .bind(registration.text)
        .bind(self.entry.as_str())
        .bind(now_ms())
        .bind(registration.verified_at)
        .bind(registration.expires_at_ms())
        .bind(self.facts.algorithm.as_str())
        .bind(self.facts.bits)
        .execute(transaction)
        .await
        .map_err(StoreError::of("store a key"))?;
        Ok(())
    }

    /// Stores what can change of a stored key; returns its entry for hosts of before, if that has changed.
    async fn replace(
        &self,
        transaction: &mut Transaction,
        registration: &Registration<'_>,
    ) -> Result<Option<String>, StoreError> {
        let digest = self.fingerprint.as_bytes().as_slice();
        let before: String = sql("SELECT entry FROM keys WHERE fingerprint = $1")
            .bind(digest)
            .fetch_value(&mut *transaction)
            .await
            .map_err(StoreError::of("look up a key"))?;
        sql("UPDATE keys SET text = $1, entry = $2, expires_at = $3 WHERE fingerprint = $4")
            .bind(registration.text)
            .bind(self.entry.as_str())
            .bind(registration.expires_at_ms())
            .bind(digest)
            .execute(transaction)
            .await
            .map_err(StoreError::of("store a key's text"))?;
        Ok(Some(before).filter(|before| *before != self.entry))
    }
}
