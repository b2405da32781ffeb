//! A copy of a SQLite database while it is served.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pushkeys_files::WriteFileError;
use pushkeys_keys::{Hint, shell_word};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use thiserror::Error;

use super::connection::Database;
use super::url::DatabaseUrl;

/// What `service.origin` says in a copy.
pub(crate) const BACKUP: &str = "backup";

/// Why no copy was made.
#[derive(Debug, Error)]
pub(crate) enum BackUpError {
    /// PostgreSQL brings programs for it.
    #[error("pushkeys-server copies SQLite databases only")]
    Postgres(#[source] Hint),
    /// It exists, or cannot be written.
    #[error("cannot write the copy `{}`", file.display())]
    File { file: PathBuf, source: io::Error },
    /// It cannot be made to survive a power cut.
    #[error(transparent)]
    Sync(#[from] WriteFileError),
    /// The unfinished copy was removed.
    #[error("cannot copy the database to `{}`", file.display())]
    Copy { file: PathBuf, source: sqlx::Error },
}

impl Database {
    /// Copies this database, which is at `url`, to `file`, which must not exist. The copy is marked as one: a service that
    /// opens it in place of the database begins a new epoch.
    pub(crate) async fn back_up(&self, url: &DatabaseUrl, file: &Path) -> Result<(), BackUpError> {
        let Self::Sqlite { write, .. } = self else {
            let file = shell_word(&file.to_string_lossy());
            let hint = format!("pg_dump --format=custom --file={file} {}", shell_word(&url.to_string()));
            return Err(BackUpError::Postgres(Hint::new(hint)));
        };
        let failed = |source| BackUpError::File { file: file.to_owned(), source };
        // SQLite fills an empty file, and would create a missing one readable by others.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
        let copied = copy(write, file).await;
        if let Err(source) = copied {
            let _ = fs::remove_file(file);
            return Err(BackUpError::Copy { file: file.to_owned(), source });
        }
        Ok(pushkeys_files::sync(file)?)
    }
}

async fn copy(pool: &sqlx::SqlitePool, file: &Path) -> sqlx::Result<()> {
    sqlx::query("VACUUM INTO $1").bind(file.to_string_lossy().as_ref()).execute(pool).await?;
    let mut copy = SqliteConnectOptions::new().filename(file).connect().await?;
    sqlx::query("UPDATE service SET origin = $1").bind(BACKUP).execute(&mut copy).await?;
    copy.close().await
}
