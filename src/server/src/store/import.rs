//! Importing many keys at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use pushkeys_keys::{AccountId, AccountName, Expiry, KeyName, ValidKey};
use thiserror::Error;

use super::audit::{Actor, AuditEvent};
use super::changes::Numbering;
use super::columns::{account_id, now_ms};
use super::error::StoreError;
use super::handle::Store;
use super::registration::{NewKey, is_called};
use crate::database::{Database, Transaction, Value, many, sql};
use crate::secret;

/// Rows in one statement, as in `changes`.
const ROWS_PER_STATEMENT: usize = 500;

/// A key to import.
pub(crate) struct ImportItem {
    /// The name of the account.
    pub(crate) account: AccountName,
    pub(crate) name: KeyName,
    /// Another name for the key, if its names are derived and not given. Then it may be stored under any name already.
    pub(crate) fallback: Option<KeyName>,
    pub(crate) key: ValidKey,
    /// Its text, one line, with the comment.
    pub(crate) text: String,
    pub(crate) expires_at: Option<Expiry>,
}

/// How items are imported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImportMode {
    /// Whether missing accounts are created.
    pub(crate) creates_accounts: bool,
    /// Whether nothing is stored in the end.
    pub(crate) is_dry_run: bool,
}

/// The outcome for an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportOutcome {
    Stored,
    /// The account has the key under the same name, or under any if names are derived: importing a file twice is not an
    /// error.
    Present,
    Refused(ImportRefusal),
}

/// Why an item was refused, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ImportRefusal {
    #[error("there is no account `{0}`: add it, or let the import create it with `--create`")]
    NoSuchAccount(AccountName),
    #[error("the key is registered to another account")]
    OfAnotherAccount,
    #[error("the account already has this key under the name `{}`", pushkeys_keys::escape(.0))]
    UnderAnotherName(String),
    #[error("the key was reported as compromised: its owner needs a new one")]
    Compromised,
    /// An import replaces nothing.
    #[error("the account already has another key of this name")]
    NameTaken,
}

impl Store {
    /// Returns SQLite's writer of this process more memory and a longer write-ahead log: fingerprints are spread over the
    /// whole index, and with the default of 2 MiB each batch would write most of it several times.
    pub(crate) async fn expect_import(&self) -> Result<(), StoreError> {
        if let Database::Postgres(_) = self.database {
            return Ok(());
        }
        for setting in ["PRAGMA cache_size = -131072", "PRAGMA wal_autocheckpoint = 65536"] {
            sql(setting).execute(&self.database).await.map_err(StoreError::of("prepare for an import"))?;
        }
        Ok(())
    }

    /// Imports `items` in one transaction; returns the outcome of each, in their order. Each stored key has its row in the
    /// audit log, and an account with an address gets one mail for all of its keys.
    pub(crate) async fn import(
        &self,
        items: &[ImportItem],
        mode: ImportMode,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin_write().await?;
        let accounts = import_accounts(&mut transaction, items, mode).await?;
        let mut numbering = Numbering::default();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut imported_names = ImportedNames::new();
        for items in items.chunks(ROWS_PER_STATEMENT) {
            let rows = items.iter().filter_map(|item| row(&accounts, item).transpose());
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let compromised = compromised(&mut transaction, &rows).await?;
            let (refused, sound): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| compromised.contains(row.new.fingerprint.as_bytes().as_slice()));
            let all_are_stored =
                insert(&mut transaction, &sound).await? == sound.len() as u64 && refused.is_empty();
            let mut stored = Vec::with_capacity(rows.len());
            let mut rows = rows.into_iter();
            for item in items {
                if !accounts.contains_key(item.account.as_str()) {
                    let refusal = ImportRefusal::NoSuchAccount(item.account.clone());
                    outcomes.push(ImportOutcome::Refused(refusal));
                    continue;
                }
                let Some(row) = rows.next() else { break };
                let outcome = if compromised.contains(row.new.fingerprint.as_bytes().as_slice()) {
                    ImportOutcome::Refused(ImportRefusal::Compromised)
                } else if all_are_stored {
                    ImportOutcome::Stored
                } else {
                    outcome(&mut transaction, &row).await?
                };
                if outcome == ImportOutcome::Stored {
                    numbering.put(row.account.id.clone(), row.new.id, row.new.fingerprint, row.new.entry);
                    stored.push((row.account.number, AuditEvent::KeyAdded, row.item.name.as_str()));
                    if row.account.has_address {
                        imported_names.entry(row.account.number).or_default().push(row.item.name.as_str());
                    }
                }
                outcomes.push(outcome);
            }
            self.record_silently(&mut transaction, &Actor::operator(), &stored).await?;
        }
        for (account, names) in imported_names {
            self.tell_of_import(&mut transaction, account, &Actor::operator(), &names, None).await?;
        }
        // Without a commit, all of it is rolled back.
        if !mode.is_dry_run {
            self.commit_changes(transaction, numbering, &Actor::operator()).await?;
        }
        Ok(outcomes)
    }
}

/// The names of stored keys by account number, for mails.
type ImportedNames<'a> = BTreeMap<i64, Vec<&'a str>>;

struct PreparedItem<'a> {
    account: &'a Known,
    item: &'a ImportItem,
    new: NewKey,
}

/// `None`: its account does not exist.
fn row<'a>(accounts: &'a Accounts, item: &'a ImportItem) -> Result<Option<PreparedItem<'a>>, StoreError> {
    let Some(account) = accounts.get(item.account.as_str()) else { return Ok(None) };
    let key_id = secret::new_key_id()?;
    let name = item.account.as_str();
    let new = NewKey::of(key_id, &account.id, name, &item.name, &item.key, item.expires_at)?;
    Ok(Some(PreparedItem { account, item, new }))
}

/// An account of the import.
struct Known {
    number: i64,
    id: AccountId,
    /// Whether it has a mail address.
    has_address: bool,
}

/// Accounts by name.
type Accounts = HashMap<String, Known>;

async fn import_accounts(
    transaction: &mut Transaction,
    items: &[ImportItem],
    mode: ImportMode,
) -> Result<Accounts, StoreError> {
    let mut seen = HashSet::new();
    let names: Vec<&str> =
        items.iter().map(|item| item.account.as_str()).filter(|name| seen.insert(*name)).collect();
    let mut accounts = Accounts::with_capacity(names.len());
    for names in names.chunks(ROWS_PER_STATEMENT) {
        if mode.creates_accounts {
            make_accounts(transaction, names).await?;
        }
        find_accounts(transaction, names, &mut accounts).await?;
    }
    Ok(accounts)
}

async fn make_accounts(transaction: &mut Transaction, names: &[&str]) -> Result<(), StoreError> {
    let ids = names.iter().map(|_| secret::new_account_id()).collect::<Result<Vec<_>, _>>()?;
    let rows = names.iter().zip(&ids).map(|(name, id)| [id.as_str().into(), (*name).into(), now_ms().into()]);
    many("INSERT INTO accounts (id, name, created_at) {rows} ON CONFLICT (name) DO NOTHING", rows)
        .execute(transaction)
        .await
        .map_err(StoreError::of("add accounts"))?;
    Ok(())
}

async fn find_accounts(
    transaction: &mut Transaction,
    names: &[&str],
    accounts: &mut Accounts,
) -> Result<(), StoreError> {
    let wanted = names.iter().map(|name| [Value::from(*name)]);
    let rows: Vec<(i64, String, String, Option<String>)> =
        many("SELECT number, id, name, email FROM accounts WHERE name IN ({rows})", wanted)
            .fetch_all(transaction)
            .await
            .map_err(StoreError::of("find accounts"))?;
    for (number, id, name, email) in rows {
        accounts.insert(name, Known { number, id: account_id(&id)?, has_address: email.is_some() });
    }
    Ok(())
}

/// The fingerprints of `rows` that were reported as compromised.
async fn compromised(
    transaction: &mut Transaction,
    rows: &[PreparedItem<'_>],
) -> Result<HashSet<Vec<u8>>, StoreError> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let fingerprints = rows.iter().map(|row| [Value::from(row.new.fingerprint.as_bytes().as_slice())]);
    let found: Vec<Vec<u8>> =
        many("SELECT fingerprint FROM compromised_keys WHERE fingerprint IN ({rows})", fingerprints)
            .fetch_values(transaction)
            .await
            .map_err(StoreError::of("look for compromised keys"))?;
    Ok(found.into_iter().collect())
}

/// Stores the rows that no unique index refuses; returns their number.
async fn insert(transaction: &mut Transaction, rows: &[&PreparedItem<'_>]) -> Result<u64, StoreError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let now = now_ms();
    let values = rows.iter().map(|row| {
        [
            row.new.fingerprint.as_bytes().as_slice().into(),
            row.account.number.into(),
            row.new.id.as_str().into(),
            row.item.name.as_str().into(),
            row.item.text.as_str().into(),
            row.new.entry.as_str().into(),
            now.into(),
            row.new.facts.algorithm.as_str().into(),
            row.new.facts.bits.into(),
            row.item.expires_at.map(Expiry::as_millisecond).into(),
        ]
    });
    many(
        "INSERT INTO keys (fingerprint, account, id, name, text, entry, created_at, algorithm, bits, expires_at) {rows}
         ON CONFLICT DO NOTHING",
        values,
    )
    .execute(transaction)
    .await
    .map_err(StoreError::of("store keys"))
}

/// The outcome of `row` after a statement that stored only some of its rows. Of two rows with the same key, the id tells
/// which was stored.
async fn outcome(transaction: &mut Transaction, row: &PreparedItem<'_>) -> Result<ImportOutcome, StoreError> {
    let holder: Option<(String, i64, String)> =
        sql("SELECT id, account, name FROM keys WHERE fingerprint = $1")
            .bind(row.new.fingerprint.as_bytes().as_slice())
            .fetch_optional(transaction)
            .await
            .map_err(StoreError::of("look up a key"))?;
    Ok(match holder {
        None => ImportOutcome::Refused(ImportRefusal::NameTaken),
        Some((id, ..)) if id == row.new.id.as_str() => ImportOutcome::Stored,
        Some((_, account, _)) if account != row.account.number => {
            ImportOutcome::Refused(ImportRefusal::OfAnotherAccount)
        }
        Some((.., name)) if row.item.fallback.is_none() && !is_called(&name, &row.item.name) => {
            ImportOutcome::Refused(ImportRefusal::UnderAnotherName(name))
        }
        Some(_) => ImportOutcome::Present,
    })
}
