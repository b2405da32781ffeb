//! Many keys at once, for accounts that move in.

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

/// Rows in one statement; see the like in `changes`.
const ROWS_PER_STATEMENT: usize = 500;

/// One key to import.
pub(crate) struct ImportItem {
    /// The account's name; an account is made when it is missing.
    pub(crate) account: AccountName,
    /// What the account calls the key.
    pub(crate) name: KeyName,
    /// The key, already judged.
    pub(crate) key: ValidKey,
    /// Its text, one line, comment included.
    pub(crate) text: String,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportOutcome {
    /// It is stored now.
    Stored,
    /// It was stored before just so: importing a file twice is no error.
    Present,
    /// It stays out.
    Refused(ImportRefusal),
}

/// Why an item stays out, for the sysadmin who imports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ImportRefusal {
    /// Another account has the key.
    #[error("the key is registered to another account")]
    OfAnotherAccount,
    /// The account has the key under another name.
    #[error("the account already has this key under the name `{}`", pushkeys_keys::escape(.0))]
    UnderAnotherName(String),
    /// Somebody removed it as such.
    #[error("the key was reported as compromised: its owner needs a new one")]
    Compromised,
    /// The account calls another key so. An import replaces nothing.
    #[error("the account already has another key of this name")]
    NameTaken,
}

impl Store {
    /// Gives this process's writer to SQLite memory, and the write-ahead log length, for many keys: they land all over
    /// the index of fingerprints, and with the usual 2 MiB each batch would write most of it several times.
    pub(crate) async fn expect_import(&self) -> Result<(), StoreError> {
        if let Database::Postgres { .. } = self.database {
            return Ok(());
        }
        for setting in ["PRAGMA cache_size = -131072", "PRAGMA wal_autocheckpoint = 65536"] {
            sql(setting).execute(&self.database).await.map_err(StoreError::of("prepare for an import"))?;
        }
        Ok(())
    }

    /// Imports `items` in one transaction, and says for each in its order what became of it. Each key that is stored has
    /// its row in the trail, and an account with an address gets one mail for all of its own.
    pub(crate) async fn import(&self, items: &[ImportItem]) -> Result<Vec<ImportOutcome>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let accounts = ensure_accounts(&mut transaction, items).await?;
        let mut numbering = Numbering::default();
        let mut outcomes = Vec::with_capacity(items.len());
        let mut told = Told::new();
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
                        told.entry(row.account.number).or_default().push(row.item.name.as_str());
                    }
                }
                outcomes.push(outcome);
            }
            self.record_silently(&mut transaction, &Actor::operator(), &stored).await?;
        }
        for (account, names) in told {
            self.tell_of_import(&mut transaction, account, &Actor::operator(), &names, None).await?;
        }
        self.commit_changes(transaction, numbering, &Actor::operator()).await?;
        Ok(outcomes)
    }
}

/// The names of new keys, by the number of their account.
type Told<'a> = BTreeMap<i64, Vec<&'a str>>;

struct Row<'a> {
    account: &'a Known,
    item: &'a ImportItem,
    new: NewKey,
}

fn row<'a>(accounts: &'a Accounts, item: &'a ImportItem) -> Result<Row<'a>, StoreError> {
    let account =
        accounts.get(item.account.as_str()).ok_or_else(|| StoreError::malformed("an account's name"))?;
    let key_id = secret::new_key_id()?;
    let new = NewKey::of(key_id, &account.id, item.account.as_str(), &item.name, &item.key, None)?;
    Ok(Row { account, item, new })
}

/// An account that keys are imported for.
struct Known {
    number: i64,
    id: AccountId,
    /// Whether it can be told of them.
    has_address: bool,
}

/// By name.
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

/// The fingerprints among those of `rows` that were reported as compromised.
async fn compromised(
    transaction: &mut Transaction,
    rows: &[Row<'_>],
) -> Result<HashSet<Vec<u8>>, StoreError> {
    let fingerprints = rows.iter().map(|row| [Value::from(row.new.fingerprint.as_bytes().as_slice())]);
    let found: Vec<Vec<u8>> =
        many("SELECT fingerprint FROM compromised_keys WHERE fingerprint IN ({rows})", fingerprints)
            .fetch_values(transaction)
            .await
            .map_err(StoreError::of("look for compromised keys"))?;
    Ok(found.into_iter().collect())
}

/// Stores what no unique index refuses; gives how many that are.
async fn insert(transaction: &mut Transaction, rows: &[&Row<'_>]) -> Result<u64, StoreError> {
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

/// What became of `row` in a statement that stored only some of its rows. The id tells two rows apart that
/// have one key: which of them was stored can depend on their names.
async fn outcome(transaction: &mut Transaction, row: &Row<'_>) -> Result<ImportOutcome, StoreError> {
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
