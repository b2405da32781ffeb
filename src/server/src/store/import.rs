//! Importing many keys at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use pushkeys_keys::{AccountId, AccountName, KeyName, ValidKey};
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
    /// The name of the account, which is created if it is missing.
    pub(crate) account: AccountName,
    pub(crate) name: KeyName,
    pub(crate) key: ValidKey,
    /// Its text, one line, with the comment.
    pub(crate) text: String,
}

/// The outcome for an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportOutcome {
    Stored,
    /// The same key was stored before under the same name: importing a file twice is not an error.
    Present,
    Refused(ImportRefusal),
}

/// Why an item was refused, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ImportRefusal {
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
    pub(crate) async fn import(&self, items: &[ImportItem]) -> Result<Vec<ImportOutcome>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let accounts = ensure_accounts(&mut transaction, items).await?;
        let mut numbering = Numbering::default();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut imported_names = ImportedNames::new();
        for items in items.chunks(ROWS_PER_STATEMENT) {
            let rows = items.iter().map(|item| row(&accounts, item)).collect::<Result<Vec<_>, _>>()?;
            let compromised = compromised(&mut transaction, &rows).await?;
            let (refused, sound): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| compromised.contains(row.new.fingerprint.as_bytes().as_slice()));
            let all_are_stored =
                insert(&mut transaction, &sound).await? == sound.len() as u64 && refused.is_empty();
            let mut stored = Vec::with_capacity(rows.len());
            for row in rows {
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
        self.commit_changes(transaction, numbering, &Actor::operator()).await?;
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

fn row<'a>(accounts: &'a Accounts, item: &'a ImportItem) -> Result<PreparedItem<'a>, StoreError> {
    let account =
        accounts.get(item.account.as_str()).ok_or_else(|| StoreError::malformed("an account's name"))?;
    let key_id = secret::new_key_id()?;
    let new = NewKey::of(key_id, &account.id, item.account.as_str(), &item.name, &item.key, None)?;
    Ok(PreparedItem { account, item, new })
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

async fn ensure_accounts(
    transaction: &mut Transaction,
    items: &[ImportItem],
) -> Result<Accounts, StoreError> {
    let mut seen = HashSet::new();
    let names: Vec<&str> =
        items.iter().map(|item| item.account.as_str()).filter(|name| seen.insert(*name)).collect();
    let mut accounts = Accounts::with_capacity(names.len());
    for names in names.chunks(ROWS_PER_STATEMENT) {
        make_accounts(transaction, names).await?;
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
        ]
    });
    many(
        "INSERT INTO keys (fingerprint, account, id, name, text, entry, created_at, algorithm, bits) {rows}
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
        Some((.., name)) if !is_called(&name, &row.item.name) => {
            ImportOutcome::Refused(ImportRefusal::UnderAnotherName(name))
        }
        Some(_) => ImportOutcome::Present,
    })
}
