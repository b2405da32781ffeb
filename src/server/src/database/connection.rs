//! Connections, and where a statement runs.

use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Postgres, Sqlite};

use super::transaction::{Held, Transaction};

/// Connections that read: requests, the feed's hub, and snapshots.
pub(crate) const READ_CONNECTIONS: u32 = 12;
/// How long a request waits for a connection before it fails.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A slow reader leaves the connection idle between statements, without any row lock.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// The database, with connections that read and connections that write.
#[derive(Clone)]
pub(crate) enum Database {
    /// One connection writes: this process's writers wait for it.
    Sqlite { read: SqlitePool, write: SqlitePool },
    /// Writers wait for a lock, so they have connections of their own.
    Postgres { read: PgPool, write: PgPool },
}

/// Where a statement runs: on a [`Database`], by itself, or in a [`Transaction`].
pub(crate) trait On<'c> {
    fn to_read(self) -> Target<'c>;
    fn to_write(self) -> Target<'c>;
}

/// A connection in a transaction, or the pool to take one from.
pub(crate) enum Target<'c> {
    SqlitePool(&'c SqlitePool),
    Sqlite(&'c mut Held<Sqlite>),
    PostgresPool(&'c PgPool),
    Postgres(&'c mut Held<Postgres>),
}

impl Database {
    /// Begins a transaction that holds the writer lock from its beginning.
    ///
    /// On PostgreSQL that is the lock of the row in `service`. Each statement after it sees all that was committed before
    /// (READ COMMITTED), so no transaction has to be retried. The lock is released only when the commit is visible, so
    /// numbers of changes become visible in order.
    pub(crate) async fn begin_write(&self) -> sqlx::Result<Transaction> {
        match self {
            Self::Sqlite { write, .. } => {
                Held::begin(write, "BEGIN IMMEDIATE").await.map(Transaction::Sqlite)
            }
            Self::Postgres { write, .. } => {
                let begin = "BEGIN; SELECT one FROM service FOR UPDATE";
                Held::begin(write, begin).await.map(Transaction::Postgres)
            }
        }
    }

    /// Begins a transaction that reads, and sees nothing that is committed after its first statement.
    pub(crate) async fn begin_read(&self) -> sqlx::Result<Transaction> {
        match self {
            Self::Sqlite { read, .. } => Held::begin(read, "BEGIN").await.map(Transaction::Sqlite),
            Self::Postgres { read, .. } => Held::begin(read, BEGIN_READ).await.map(Transaction::Postgres),
        }
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

impl<'c> On<'c> for &'c Database {
    fn to_read(self) -> Target<'c> {
        match self {
            Database::Sqlite { read, .. } => Target::SqlitePool(read),
            Database::Postgres { read, .. } => Target::PostgresPool(read),
        }
    }

    fn to_write(self) -> Target<'c> {
        match self {
            Database::Sqlite { write, .. } => Target::SqlitePool(write),
            Database::Postgres { write, .. } => Target::PostgresPool(write),
        }
    }
}

impl<'c> On<'c> for &'c mut Transaction {
    fn to_read(self) -> Target<'c> {
        match self {
            Transaction::Sqlite(transaction) => Target::Sqlite(transaction),
            Transaction::Postgres(transaction) => Target::Postgres(transaction),
        }
    }

    fn to_write(self) -> Target<'c> {
        self.to_read()
    }
}
