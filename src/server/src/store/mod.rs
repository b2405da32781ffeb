//! The database: the one place that holds SQL, behind methods in the words of the service.
//!
//! - A method is one transaction. What it returned `Ok` for is on disk (`synchronous=FULL`) and
//!   survives a power cut; what it returned `Err` for did not happen. (A contested registration leaves
//!   its warnings.)
//! - Every change to keys is numbered in the transaction that makes it. The number comes from a row
//!   of `service`, which also puts writers in order, so the sequence has no holes and no number is
//!   seen before a smaller one.
//! - The unique indexes decide who holds a key and a name, whatever was looked up before.
//! - Every change to keys, credentials, sessions and links is written into the account's trail ([`AuditEvent`])
//!   in the transaction that makes it.
//! - SQLite and PostgreSQL are asked in the same words: see [`sql`], which also says how to add a query or a
//!   migration. On PostgreSQL, whoever writes more than one statement first locks the row of `service`, so
//!   that writers of all replicas stand in one queue.

mod accounts;
mod audit;
mod backup;
mod changes;
mod cli_logins;
mod epoch;
mod github;
mod host_credentials;
mod hosts;
mod import;
mod keys;
mod mail;
mod migrate;
mod oidc;
mod open;
mod ownership;
mod postgres;
mod receipts;
mod registration;
mod replicas;
mod reports;
mod sessions;
mod snapshot;
mod sql;
mod sqlite;
mod tokens;
mod totals;
mod url;
mod warnings;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

pub use self::accounts::{Account, AddAccountError, Email, ParseEmailError, RemovedAccount};
pub use self::audit::{Actor, AuditEvent, AuditRow, Via};
pub use self::backup::BackUpError;
pub use self::changes::{Change, Changes, FeedState, KeyChange};
pub use self::github::{GithubLink, GithubOrigin, Imported, KeyFromGithub};
pub use self::host_credentials::{
    HostCredential, HostCredentialNumber, HostUse, NewHostCredential, RotateHostError,
};
pub use self::hosts::{AddHostError, Host, HostId, HostName, ParseHostNameError};
pub use self::import::{ImportItem, ImportOutcome, ImportRefusal};
pub use self::keys::StoredKey;
pub use self::mail::WaitingMail;
pub use self::migrate::{MigrateError, MigrateProgress};
pub use self::oidc::{Identity, TieError};
pub use self::open::{Open, OpenError};
pub use self::ownership::{CHALLENGE_AGE_MAX, Challenge, ReportKeyError};
pub use self::receipts::{Propagation, Receipt};
pub use self::registration::{KeyToPut, PutKeyError};
pub use self::reports::{AccountRevocation, ConfirmedRevocation, KeyUse, ReportedRevocation};
pub use self::sessions::{Lifetimes, NewSession, Session, SessionInfo};
pub use self::snapshot::{Page, SNAPSHOTS_MAX, Snapshot};
pub use self::tokens::{NewToken, TokenInfo, TokenUse};
pub use self::totals::Totals;
pub use self::url::{DatabaseUrl, ParseDatabaseUrlError, PostgresUrl};
pub use self::warnings::{Warning, WarningKind};

use self::changes::cursor;
use self::receipts::Receipts;
use self::sql::{Database, Transaction};
use crate::secret::NewIdError;

/// What an operator decides about the store.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// The most changes that are kept for hosts to resume from.
    pub changes_max: u64,
    /// The most keys that an account may register itself.
    pub keys_per_account_max: u64,
    /// How long the trail of changes is kept.
    pub audit_age_max: Duration,
    /// Whether changes are told by mail.
    pub sends_mail: bool,
}

/// The database of accounts, keys, hosts and changes.
#[derive(Clone)]
pub struct Store {
    database: Database,
    limits: StoreLimits,
    committed: watch::Sender<()>,
    receipts: Receipts,
}

/// The database did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("cannot {operation} in the database")]
    Query {
        /// What was tried, as a verb and its object.
        operation: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A row that this version would not have written.
    #[error("the database holds {what} that cannot be read, hint: pushkeys-server check")]
    Malformed {
        /// The kind of row or column.
        what: &'static str,
    },
    /// No new identifier.
    #[error(transparent)]
    NewId(#[from] NewIdError),
}

/// Statements that failed since this process began.
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How many statements failed since this process began.
#[must_use]
pub fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

impl StoreError {
    /// For `map_err`: the failure of `operation`, a verb and its object.
    fn of(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| {
            ERRORS.fetch_add(1, Ordering::Relaxed);
            Self::Query { operation, source }
        }
    }

    fn malformed(what: &'static str) -> Self {
        Self::Malformed { what }
    }
}

impl Store {
    /// Ends all connections, and brings the write-ahead log into the database where nobody else has it open.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// A transaction that holds the one right to write from its beginning, so that what it reads stays true.
    async fn begin_write(&self) -> Result<Transaction, StoreError> {
        self.database.begin_write().await.map_err(StoreError::of("begin a transaction"))
    }

    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        // Nobody need be listening.
        self.committed.send_replace(());
        Ok(())
    }
}

/// The databases' integers are signed; numbers of ours begin at 0 and are counted up by one.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::malformed("a negative number"))
}

/// Now, as the database keeps it.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn instant(ms: i64) -> Result<jiff::Timestamp, StoreError> {
    jiff::Timestamp::from_millisecond(ms).map_err(|_| StoreError::malformed("a time"))
}

/// Whether `error` is a unique index that refused a row.
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
