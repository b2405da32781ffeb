//! Transactions: the only place where they begin and end.
//!
//! sqlx returns a connection to its pool whatever became of its transaction. A `BEGIN` that waited for a lock in vain, a
//! `COMMIT` for which the disk had no room, or a request that was cancelled in the middle of a statement then leaves a
//! connection in a transaction that nothing ends, and every later one on it fails. Here a connection returns to its pool
//! only if the database confirmed that its transaction has ended; otherwise it is closed, which ends it on any database.

use std::future::Future;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database as Driver, Pool, Postgres, Sqlite};
use tokio::time::timeout;

use super::primary::GivenUp;
use super::sqlite_file::OpenedFile;

/// How long a rollback may take before its connection is closed instead.
const ROLLBACK_TIME_MAX: Duration = Duration::from_secs(2);

/// A transaction that is rolled back unless it is committed.
pub(crate) enum Transaction {
    Sqlite(Held<Sqlite>),
    Postgres(Held<Postgres>),
}

impl Transaction {
    /// Fails if the commit was not confirmed. It may have happened nevertheless, if the connection was lost.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(held) => held.commit().await,
            Self::Postgres(held) => held.commit().await,
        }
    }
}

/// A connection that is in a transaction.
pub(crate) struct Held<D: RunsText> {
    /// `None` once the transaction has ended.
    connection: Option<PoolConnection<D>>,
    given_up: GivenUp,
    /// The file that a commit writes to, of SQLite.
    file: Option<OpenedFile>,
    /// Whether a statement was begun of which the database has not told how it ended.
    is_unsettled: bool,
}

/// A database that runs statements without values, and discards what they return.
pub(crate) trait RunsText: Driver {
    fn run(
        connection: &mut Self::Connection,
        statements: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

impl RunsText for Sqlite {
    async fn run(connection: &mut Self::Connection, statements: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(statements).execute(connection).await.map(drop)
    }
}

impl RunsText for Postgres {
    async fn run(connection: &mut Self::Connection, statements: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(statements).execute(connection).await.map(drop)
    }
}

impl<D: RunsText> Held<D> {
    /// Begins a transaction on a connection of `pool` by `statements`.
    pub(super) async fn begin(
        pool: &Pool<D>,
        statements: &'static str,
        given_up: GivenUp,
    ) -> sqlx::Result<Self> {
        let connection = given_up.or_fail(pool.acquire()).await?;
        let mut held = Self { connection: Some(connection), given_up, file: None, is_unsettled: true };
        held.run(statements).await?;
        held.is_unsettled = false;
        Ok(held)
    }

    /// A commit fails unless `file` is still the one at its path.
    pub(super) fn in_file(self, file: OpenedFile) -> Self {
        let mut held = self;
        held.file = Some(file);
        held
    }

    /// The connection, for one statement, and what that must be run by; its result is then passed to [`Self::settle`].
    pub(crate) fn connection(&mut self) -> sqlx::Result<(&mut D::Connection, &GivenUp)> {
        self.is_unsettled = true;
        let connection = self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        Ok((connection, &self.given_up))
    }

    async fn run(&mut self, statements: &'static str) -> sqlx::Result<()> {
        let (connection, given_up) = self.connection()?;
        given_up.or_fail(D::run(connection, statements)).await
    }

    /// Notes how a statement ended. One that the database refused leaves a connection that can roll back.
    pub(crate) fn settle<T>(&mut self, result: sqlx::Result<T>) -> sqlx::Result<T> {
        self.is_unsettled = match &result {
            Ok(_) | Err(sqlx::Error::RowNotFound | sqlx::Error::Database(_)) => false,
            Err(_) => true,
        };
        result
    }

    async fn commit(mut self) -> sqlx::Result<()> {
        self.run("COMMIT").await?;
        self.is_unsettled = false;
        if let Some(file) = &self.file {
            file.check()?;
        }
        // Returns to its pool.
        drop(self.connection.take());
        Ok(())
    }
}

impl<D: RunsText> Drop for Held<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.is_unsettled {
            connection.close_on_drop();
        } else {
            tokio::spawn(roll_back(connection));
        }
    }
}

async fn roll_back<D: RunsText>(mut connection: PoolConnection<D>) {
    let ended = timeout(ROLLBACK_TIME_MAX, D::run(&mut connection, "ROLLBACK")).await;
    if !matches!(ended, Ok(Ok(()))) {
        connection.close_on_drop();
    }
}
