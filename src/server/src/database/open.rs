//! Opening the database and its schema.

use super::connection::Database;
use super::error::OpenError;
use super::statement::sql;
use super::url::DatabaseUrl;
use super::{migrations, postgres, sqlite};
use pushkeys_keys::Hint;

/// What opening may do to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Create SQLite's file if it is missing, and migrate the schema.
    Prepare,
    /// Change nothing.
    Examine,
}

impl Database {
    /// Opens the database at `url`.
    pub(crate) async fn open(url: &DatabaseUrl, open: Open) -> Result<Self, OpenError> {
        let failed = |source| failed_connection(url, source);
        let database = match url {
            DatabaseUrl::Sqlite(path) => {
                sqlite::prepare_file(path, open == Open::Prepare)?;
                sqlite::connect(path).await.map_err(failed)?
            }
            DatabaseUrl::Postgres(address) => {
                let database = postgres::connect(postgres::options(address)?).await.map_err(failed)?;
                postgres::check_server(&database, url).await?;
                database
            }
        };
        match open {
            Open::Prepare => migrations::run(&database, url).await?,
            Open::Examine => migrations::check(&database, url).await?,
        }
        Ok(database)
    }

    /// `ok`, or the first damage that SQLite finds in its file.
    pub(crate) async fn check(&self) -> sqlx::Result<String> {
        let check = match self {
            Self::Sqlite { .. } => sql("PRAGMA quick_check(1)"),
            // PostgreSQL has its own tools for that; here it is enough that a table can be read.
            Self::Postgres(_) => sql("SELECT 'ok' FROM service"),
        };
        check.fetch_value(self).await
    }
}

fn failed_connection(url: &DatabaseUrl, source: sqlx::Error) -> OpenError {
    let url = url.clone();
    match postgres::tls_hint(&source) {
        Some(hint) => OpenError::Tls { url, source: Hint::because(hint, source) },
        None => OpenError::Connect { url, source },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use pushkeys_files::Distrust;

    use super::*;

    #[tokio::test]
    async fn a_database_is_made_for_its_owner_alone_and_refused_once_others_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let url = DatabaseUrl::Sqlite(path.clone());
        assert!(matches!(Database::open(&url, Open::Examine).await, Err(OpenError::Missing(_))));
        let database = Database::open(&url, Open::Prepare).await.unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        database.close().await;
        assert!(Database::open(&url, Open::Examine).await.is_ok());
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Database::open(&url, Open::Prepare).await;
        let Err(OpenError::Untrusted(refused)) = refused else { panic!("it is trusted") };
        assert_eq!(refused.why, Distrust::Shared { mode: 0o644 });
    }
}
