//! SQLite: the file, its modes and its settings.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pushkeys_files::{ReadFileError, Trust};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::connection::Database;
use super::error::OpenError;
use super::pools::{ACQUIRE_TIMEOUT, READ_CONNECTIONS};
use super::sqlite_file::SqliteFile;
use crate::files::of_service_user;

/// How long a writer waits for one of another process, such as a command.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the database file at `path`.
pub(super) async fn connect(path: &Path) -> sqlx::Result<Database> {
    let options = connect_options(path);
    // Only the one writer may write: others would collide with it.
    let reader = options.clone().pragma("query_only", "ON");
    let file = SqliteFile::new(path)?;
    let write = pool_options(1, &file).connect_with(options).await?;
    // All of them are opened at once: one that is opened after the file was replaced, and before that is noticed, would mix the new
    // file with the log of the old one.
    let readers = pool_options(READ_CONNECTIONS, &file).min_connections(READ_CONNECTIONS);
    Ok(Database::Sqlite { read: readers.connect_lazy_with(reader), write, file })
}

/// Opens the file at `path` exclusively; fails if it is open elsewhere.
pub(super) async fn connect_alone(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = connect_options(path).locking_mode(SqliteLockingMode::Exclusive);
    let mut connection = options.busy_timeout(Duration::ZERO).connect().await?;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await?;
    Ok(connection)
}

/// Creates the file at `path` if it is missing and `is_made`. The write-ahead log and the shared memory beside it get
/// its mode.
pub(super) fn prepare_file(path: &Path, is_made: bool) -> Result<(), OpenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
        _ => OpenError::File(of_service_user(ReadFileError::Io { path: path.to_owned(), source })),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(is_made)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    Ok(Trust::OWNER.private().check(path, &stat)?)
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF")
}

fn pool_options(connections_max: u32, file: &Arc<SqliteFile>) -> SqlitePoolOptions {
    let file = file.clone();
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let is_usable = file.is_open_since(connection.age);
            Box::pin(async move { Ok(is_usable?) })
        })
}
