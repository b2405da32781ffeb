//! The keys of accounts.

use ::keys::{AccountId, Expiry, Fingerprint, KeyId, Name, ValidKey};
use feed::Entry;
use jiff::Timestamp;
use thiserror::Error;

use super::audit::{Actor, AuditEvent};
use super::changes::Numbering;
use super::ownership::check_not_compromised;
use super::reports::KeyUse;
use super::sql::{Transaction, sql};
use super::warnings::{WarningKind, warn};
use super::{KeyChange, Store, StoreError, instant, is_taken, now_ms, to_sql};
use crate::secret;

/// A key, as its account gets it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// What the account calls it.
    pub name: String,
    /// The text it was given, one line, comment included.
    pub text: String,
    /// Its SHA-256.
    pub fingerprint: Fingerprint,
    /// Whether the account showed that it holds the private key.
    pub verified: bool,
    /// From when on hosts refuse it.
    pub expires_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When and where it was used last, as hosts report it.
    pub last_use: Option<KeyUse>,
    /// When and where its account was last greeted by it, which shows that the account's ssh is set up.
    pub last_check: Option<KeyUse>,
}

/// A key to be registered.
pub struct KeyToPut<'a> {
    /// What the account calls it.
    pub name: &'a Name,
    /// The key.
    pub key: &'a ValidKey,
    /// The text it was given, one line.
    pub text: &'a str,
    /// From when on hosts refuse it.
    pub expires_at: Option<Expiry>,
    /// Whether it takes the place of another key of the name.
    pub may_replace: bool,
}

/// Why a key was not stored. What is shown is for the account that asked.
#[derive(Debug, Error)]
pub enum PutKeyError {
    /// Which account it is must not be known to the one that asks.
    #[error(
        "this key is registered to another account, and a key belongs to one account only: remove it there, prove that it is yours with a POST to …/challenge, or make a new key with `ssh-keygen -t ed25519`"
    )]
    OfAnotherAccount,
    /// A second name would suggest that removing one of the two locks the key out.
    #[error(
        "this key is already registered under the name `{}`: remove that one first to give it another name",
        ::keys::escape(name)
    )]
    UnderAnotherName {
        /// The name in the same account.
        name: String,
    },
    /// Another key of the account has the name, and was not to be replaced.
    #[error("another key of this account has this name: remove that one first, or choose another name")]
    NameTaken,
    /// See [`super::StoreLimits::keys_per_account_max`].
    #[error(
        "this account already has {max} keys, which is the most it may have: remove one that is no longer used"
    )]
    TooMany {
        /// The most keys.
        max: u64,
    },
    /// See [`Store::report_key`].
    #[error(
        "this key was reported as compromised and cannot be registered again: make a new one with `ssh-keygen -t ed25519`"
    )]
    Compromised,
    /// A proof of something else, too late, or for the second time.
    #[error(
        "no challenge waits for this signature: ask for one with a POST to …/challenge, and sign it within 10 minutes"
    )]
    NoChallenge,
    /// It was removed since its credential was checked.
    #[error("this account no longer exists")]
    AccountGone,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Name, text, fingerprint, when it was verified, expires and was registered, and when and where it was used and checked.
type StoredKeyRow = (
    String,
    String,
    Vec<u8>,
    Option<i64>,
    Option<i64>,
    i64,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
);

impl Store {
    /// The keys of `account` in the order of their names.
    pub async fn keys(&self, account: &AccountId) -> Result<Vec<StoredKey>, StoreError> {
        let rows: Vec<StoredKeyRow> =
            sql("SELECT k.name, k.text, k.fingerprint, k.verified_at, k.expires_at, k.created_at,
                 u.used_at, u.used_host, u.checked_at, u.checked_host FROM keys k
             JOIN accounts a ON a.number = k.account LEFT JOIN key_uses u ON u.key = k.number
             WHERE a.id = $1 ORDER BY k.name")
            .bind(account.as_str())
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list keys"))?;
        rows.into_iter().map(stored_key).collect()
    }

    /// Registers `wanted` to `account`. Gives the changes that hosts are told of: none when they know all of it
    /// already. When it is another account's key, both are warned.
    pub async fn put_key(
        &self,
        account: &AccountId,
        wanted: &KeyToPut<'_>,
        actor: &Actor,
    ) -> Result<Vec<KeyChange>, PutKeyError> {
        let mut transaction = self.begin_write().await?;
        let owner = owner(&mut transaction, account).await?.ok_or(PutKeyError::AccountGone)?;
        let KeyToPut { name, key, text, expires_at, may_replace } = *wanted;
        let fingerprint = key.fingerprint();
        let new =
            Registration { account, name, key, text, expires_at, verified_at: None, actor, may_replace };
        check_not_compromised(&mut transaction, fingerprint).await?;
        match holder(&mut transaction, &owner, fingerprint).await? {
            Holder::Nobody => self.register(transaction, &owner, &new).await,
            Holder::Owner { name: held, key_id } if held == name.as_str() => {
                Ok(self.renew(transaction, &owner, key_id, &new).await?)
            }
            Holder::Owner { name, .. } => Err(PutKeyError::UnderAnotherName { name }),
            Holder::Other { account, name: held } => {
                let kind = WarningKind::Contested;
                warn(&mut transaction, account, kind, fingerprint, &held, None).await?;
                let name = name.as_str();
                warn(&mut transaction, owner.number, kind, fingerprint, name, Some(text)).await?;
                let event = AuditEvent::KeyContested;
                self.record(&mut transaction, owner.number, actor, event, name).await?;
                self.commit(transaction).await?;
                Err(PutKeyError::OfAnotherAccount)
            }
        }
    }

    /// Stores a key that nobody holds, and commits.
    pub(super) async fn register(
        &self,
        mut transaction: Transaction,
        owner: &Owner,
        registration: &Registration<'_>,
    ) -> Result<Vec<KeyChange>, PutKeyError> {
        let mut numbering = Numbering::default();
        let Registration { actor, name, .. } = *registration;
        match take_key(&mut transaction, owner, name).await? {
            Some(_) if !registration.may_replace => return Err(PutKeyError::NameTaken),
            Some((key_id, fingerprint)) => {
                let event = AuditEvent::KeyRemoved;
                self.record(&mut transaction, owner.number, actor, event, name.as_str()).await?;
                numbering.remove(key_id, fingerprint);
            }
            None => self.check_room(&mut transaction, owner).await?,
        }
        let id = secret::new_key_id().map_err(StoreError::from)?;
        let new = registration.entry(id, &owner.name)?;
        new.insert(&mut transaction, owner, registration).await?;
        numbering.put(new.id, new.fingerprint, new.entry);
        let changes = numbering.write(&mut transaction, self.limits.changes_max).await?;
        let event =
            if registration.verified_at.is_some() { AuditEvent::KeyProved } else { AuditEvent::KeyAdded };
        self.record(&mut transaction, owner.number, actor, event, name.as_str()).await?;
        self.commit(transaction).await?;
        Ok(changes)
    }

    /// Stores the comment and the expiry of a key that its owner holds under its name, and commits.
    async fn renew(
        &self,
        mut transaction: Transaction,
        owner: &Owner,
        key_id: KeyId,
        registration: &Registration<'_>,
    ) -> Result<Vec<KeyChange>, StoreError> {
        let new = registration.entry(key_id, &owner.name)?;
        let mut numbering = Numbering::default();
        // Of another comment, hosts need not be told.
        if new.replace(&mut transaction, registration).await? {
            let Registration { actor, name, .. } = *registration;
            let event = AuditEvent::KeyChanged;
            self.record(&mut transaction, owner.number, actor, event, name.as_str()).await?;
            numbering.put(new.id, new.fingerprint, new.entry);
        }
        let changes = numbering.write(&mut transaction, self.limits.changes_max).await?;
        self.commit(transaction).await?;
        Ok(changes)
    }

    /// Removes the key that `account` calls `name`. `None`: it has no such key.
    pub async fn delete_key(
        &self,
        account: &AccountId,
        name: &Name,
        actor: &Actor,
    ) -> Result<Option<KeyChange>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(owner) = owner(&mut transaction, account).await? else { return Ok(None) };
        let Some((key_id, fingerprint)) = take_key(&mut transaction, &owner, name).await? else {
            return Ok(None);
        };
        let mut numbering = Numbering::default();
        numbering.remove(key_id, fingerprint);
        let changes = numbering.write(&mut transaction, self.limits.changes_max).await?;
        let event = AuditEvent::KeyRemoved;
        self.record(&mut transaction, owner.number, actor, event, name.as_str()).await?;
        self.commit(transaction).await?;
        Ok(changes.into_iter().next())
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

fn stored_key(row: StoredKeyRow) -> Result<StoredKey, StoreError> {
    let (
        name,
        text,
        digest,
        verified_at,
        expires_at,
        created_at,
        used_at,
        used_host,
        checked_at,
        checked_host,
    ) = row;
    let key_use = |at: Option<i64>, host: Option<String>| {
        at.zip(host).map(|(at, host)| Ok::<_, StoreError>(KeyUse { at: instant(at)?, host })).transpose()
    };
    Ok(StoredKey {
        name,
        text,
        fingerprint: fingerprint(&digest)?,
        verified: verified_at.is_some(),
        expires_at: expires_at.map(instant).transpose()?,
        created_at: instant(created_at)?,
        last_use: key_use(used_at, used_host)?,
        last_check: key_use(checked_at, checked_host)?,
    })
}

/// The account that asks.
pub(super) struct Owner {
    pub(super) number: i64,
    name: String,
}

/// What is stored of a key beside what hosts are told.
pub(super) struct Registration<'a> {
    pub(super) account: &'a AccountId,
    pub(super) name: &'a Name,
    pub(super) key: &'a ValidKey,
    pub(super) text: &'a str,
    pub(super) expires_at: Option<Expiry>,
    pub(super) verified_at: Option<i64>,
    pub(super) actor: &'a Actor,
    pub(super) may_replace: bool,
}

impl Registration<'_> {
    fn entry(&self, id: KeyId, account_name: &str) -> Result<NewKey, StoreError> {
        NewKey::of(id, self.account, account_name, self.name, self.key, self.expires_at)
    }

    fn expires_at_ms(&self) -> Option<i64> {
        self.expires_at.map(|expiry| expiry.instant().as_millisecond())
    }
}

/// Who has a key, and under which name.
pub(super) enum Holder {
    Nobody,
    Owner { name: String, key_id: KeyId },
    Other { account: i64, name: String },
}

pub(super) async fn owner(
    transaction: &mut Transaction,
    id: &AccountId,
) -> Result<Option<Owner>, StoreError> {
    let row: Option<(i64, String)> = sql("SELECT number, name FROM accounts WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(transaction)
        .await
        .map_err(StoreError::of("find an account"))?;
    Ok(row.map(|(number, name)| Owner { number, name }))
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
        None => Holder::Nobody,
        Some((account, name, id)) if account == owner.number => Holder::Owner { name, key_id: key_id(&id)? },
        Some((account, name, _)) => Holder::Other { account, name },
    })
}

pub(super) async fn take_key(
    transaction: &mut Transaction,
    owner: &Owner,
    name: &Name,
) -> Result<Option<(KeyId, Fingerprint)>, StoreError> {
    let row: Option<(String, Vec<u8>)> =
        sql("DELETE FROM keys WHERE account = $1 AND name = $2 RETURNING id, fingerprint")
            .bind(owner.number)
            .bind(name.as_str())
            .fetch_optional(transaction)
            .await
            .map_err(StoreError::of("remove a key"))?;
    row.map(|(id, digest)| Ok((key_id(&id)?, fingerprint(&digest)?))).transpose()
}

/// A registration to be, with what hosts will be told of it.
pub(super) struct NewKey {
    pub(super) id: KeyId,
    pub(super) fingerprint: Fingerprint,
    pub(super) entry: String,
}

impl NewKey {
    pub(super) fn of(
        id: KeyId,
        account: &AccountId,
        account_name: &str,
        name: &Name,
        key: &ValidKey,
        expires_at: Option<Expiry>,
    ) -> Result<Self, StoreError> {
        let fingerprint = key.fingerprint();
        let entry = Entry {
            fingerprint,
            key: key.canonical_text().to_owned(),
            account: account.clone(),
            key_id: id.clone(),
            account_name: Some(account_name.to_owned()),
            name: Some(name.as_str().to_owned()),
            logins: None,
            expires_at,
        };
        let entry = String::from_utf8(entry.to_json()).map_err(|_| StoreError::malformed("a name"))?;
        Ok(Self { id, fingerprint, entry })
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        registration: &Registration<'_>,
    ) -> Result<(), PutKeyError> {
        let inserted = sql(
            "INSERT INTO keys (fingerprint, account, id, name, text, entry, created_at, verified_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(self.fingerprint.as_bytes().as_slice())
        .bind(owner.number)
        .bind(self.id.as_str())
        .bind(registration.name.as_str())
        .bind(registration.text)
        .bind(self.entry.as_str())
        .bind(now_ms())
        .bind(registration.verified_at)
        .bind(registration.expires_at_ms())
        .execute(transaction)
        .await;
        match inserted {
            Ok(_) => Ok(()),
            // Only where writers do not exclude each other: somebody else was first.
            Err(error) if is_taken(&error) => Err(PutKeyError::OfAnotherAccount),
            Err(error) => Err(StoreError::of("store a key")(error).into()),
        }
    }

    /// Stores what may change of a key that is stored; gives whether that is news for hosts.
    async fn replace(
        &self,
        transaction: &mut Transaction,
        registration: &Registration<'_>,
    ) -> Result<bool, StoreError> {
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
        Ok(before != self.entry)
    }
}

pub(super) fn key_id(text: &str) -> Result<KeyId, StoreError> {
    text.parse().map_err(|_| StoreError::malformed("a key id"))
}

/// The fingerprint in a column.
pub(super) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    bytes.try_into().map(Fingerprint::from_bytes).map_err(|_| StoreError::malformed("a fingerprint"))
}
