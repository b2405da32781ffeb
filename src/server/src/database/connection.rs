//! Connections, and where a statement runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Postgres, Sqlite};
use tokio::time::timeout;

use super::primary::{Connections, GivenUp, Primary};
use super::sqlite_file::SqliteFile;
use super::transaction::{Held, Transaction};

/// How long statements have to end when the database is closed.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(3);

/// A slow reader leaves the connection idle between statements, without any row lock.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// The database, with connections that read and connections that write.
#[derive(Clone)]
pub(crate) enum Database {
    /// One connection writes: this process's writers wait for it.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        file: Arc<SqliteFile>,
    },
    Postgres(Arc<Primary>),
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
    PostgresPool(PgPool, GivenUp),
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
            Self::Sqlite { write, file, .. } => {
                let file = file.now()?;
                let held = Held::begin(write, "BEGIN IMMEDIATE", GivenUp::default()).await?;
                Ok(Transaction::Sqlite(held.in_file(file)))
            }
            Self::Postgres(primary) => {
                let Connections { write, given_up, .. } = primary.connections();
                let begin = "BEGIN; SELECT one FROM service FOR UPDATE";
                Held::begin(&write, begin, given_up).await.map(Transaction::Postgres)
            }
        }
    }

    /// Begins a transaction that reads, and sees nothing that is committed after its first statement.
    pub(crate) async fn begin_read(&self) -> sqlx::Result<Transaction> {
        match self {
            Self::Sqlite { read, .. } => {
                Held::begin(read, "BEGIN", GivenUp::default()).await.map(Transaction::Sqlite)
            }
            Self::Postgres(primary) => {
                let Connections { read, given_up, .. } = primary.connections();
                Held::begin(&read, BEGIN_READ, given_up).await.map(Transaction::Postgres)
            }
        }
    }

    /// Ends all connections, whatever they wait for.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { read, write, .. } => {
                let _ = timeout(CLOSE_TIME_MAX, join(read.close(), write.close())).await;
            }
            Self::Postgres(primary) => primary.connections().close(CLOSE_TIME_MAX).await,
        }
    }
}

impl<'c> On<'c> for &'c Database {
    fn to_read(self) -> Target<'c> {
        match self {
            Database::Sqlite { read, .. } => Target::SqlitePool(read),
            Database::Postgres(primary) => {
                let Connections { read, given_up, .. } = primary.connections();
                Target::PostgresPool(read, given_up)
            }
        }
    }

    fn to_write(self) -> Target<'c> {
        match self {
            Database::Sqlite { write, .. } => Target::SqlitePool(write),
            Database::Postgres(primary) => {
                let Connections { write, given_up, .. } = primary.connections();
                Target::PostgresPool(write, given_up)
            }
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
