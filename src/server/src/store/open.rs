//! Opening the database and its schema.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use thiserror::Error;
use tokio::sync::watch;

use super::receipts::Receipts;
use super::sql::{Database, sql};
use super::{DatabaseUrl, Store, StoreError, StoreLimits, postgres, sqlite};
use crate::files::FileError;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Connections that read: requests, the feed's hub, and [`super::SNAPSHOTS_MAX`] snapshots.
pub(crate) const READ_CONNECTIONS: u32 = 12;
/// How long a request waits for a connection before it is told to come again.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// What opening may do to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Make SQLite's file when it is missing, and bring the schema up to date.
    Prepare,
    /// Only look.
    Examine,
}

/// Why the database cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file or its directory is missing, or is not ours to open.
    #[error("cannot open the database file `{}`, hint: run this command as the service's user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read or change the keys.
    #[error("the database file `{}` is open to others than its owner (mode {mode:04o}), hint: chmod 0600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a database, one that is damaged, or a server that does not answer or let us in.
    #[error("cannot open the database `{url}`")]
    Connect {
        /// Where it is.
        url: DatabaseUrl,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The server did not prove who it is, or cannot speak TLS.
    #[error("cannot open the database `{url}` over TLS\nhint: {hint}")]
    Tls {
        /// Where it is.
        url: DatabaseUrl,
        /// What to do about it.
        hint: &'static str,
        /// What is wrong.
        source: sqlx::Error,
    },
    /// A file that TLS needs: missing, or for others too.
    #[error("cannot use `{}`, which the database URL names", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FileError>,
    },
    /// Missing, or readable by others.
    #[error("cannot use the database password in `{}`", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FileError>,
    },
    /// A PostgreSQL without what we use.
    #[error("the server of the database `{url}` is PostgreSQL {}, hint: version {} or newer is needed", version / 10_000, postgres::VERSION_MIN / 10_000)]
    TooOld {
        /// Where it is.
        url: DatabaseUrl,
        /// Such as 150004 for 15.4.
        version: u32,
    },
    /// Names would not come back as they were given.
    #[error(
        "the database `{url}` has the encoding {encoding}, hint: createdb --encoding=UTF8 --template=template0"
    )]
    Encoding {
        /// Where it is.
        url: DatabaseUrl,
        /// What it has instead of UTF8.
        encoding: String,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the schema of the database `{url}` up to date")]
    Migrate {
        /// Where it is.
        url: DatabaseUrl,
        /// Which step failed.
        source: MigrateError,
    },
    /// It is not certain that hosts may go on from where they are.
    #[error("cannot find out whether the database `{url}` was restored")]
    Restore {
        /// Where it is.
        url: DatabaseUrl,
        /// What the database said.
        source: StoreError,
    },
    /// The schema is not this version's.
    #[error(
        "the schema of the database `{url}` has version {found}, this program's is {expected}, hint: `pushkeys-server serve` brings an older one up to date"
    )]
    Schema {
        /// Where it is.
        url: DatabaseUrl,
        /// The newest step that was applied; 0: none.
        found: i64,
        /// The newest step that this program knows.
        expected: i64,
    },
}

impl OpenError {
    fn of_connection(url: &DatabaseUrl, source: sqlx::Error) -> Self {
        let url = url.clone();
        match postgres::tls_hint(&source) {
            Some(hint) => Self::Tls { url, hint, source },
            None => Self::Connect { url, source },
        }
    }
}

impl Store {
    /// Opens the database at `url`.
    pub async fn open(url: &DatabaseUrl, open: Open, limits: StoreLimits) -> Result<Self, OpenError> {
        let failed = |source| OpenError::of_connection(url, source);
        let database = match url {
            DatabaseUrl::Sqlite(path) => {
                sqlite::prepare_file(path, open)?;
                sqlite::connect(path).await.map_err(failed)?
            }
            DatabaseUrl::Postgres(address) => postgres::connect(address.options()?).await.map_err(failed)?,
        };
        let store =
            Self { database, limits, committed: watch::Sender::new(()), receipts: Receipts::default() };
        store.check_server(url).await?;
        match open {
            Open::Prepare => {
                store.migrate(url).await?;
                store.notice_restore(url).await?;
            }
            Open::Examine => store.check_schema(url).await?,
        }
        Ok(store)
    }

    /// `ok`, or the first damage that SQLite finds in itself.
    pub async fn check(&self) -> Result<String, StoreError> {
        match self.database {
            Database::Sqlite { .. } => sql("PRAGMA quick_check(1)"),
            // PostgreSQL's own tools look for damage; that the tables can be read is all we can say.
            Database::Postgres { .. } => sql("SELECT 'ok' FROM service"),
        }
        .fetch_value(&self.database)
        .await
        .map_err(StoreError::of("look for damage"))
    }

    async fn check_server(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let Database::Postgres { write, .. } = &self.database else { return Ok(()) };
        let described = postgres::describe(write).await;
        let (version, encoding) =
            described.map_err(|source| OpenError::Connect { url: url.clone(), source })?;
        if version < postgres::VERSION_MIN {
            return Err(OpenError::TooOld { url: url.clone(), version });
        }
        if encoding != "UTF8" {
            return Err(OpenError::Encoding { url: url.clone(), encoding });
        }
        Ok(())
    }

    async fn migrate(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let migrated = match &self.database {
            Database::Sqlite { write, .. } => SQLITE_MIGRATIONS.run(write).await,
            Database::Postgres { write, .. } => POSTGRES_MIGRATIONS.run(write).await,
        };
        migrated.map_err(|source| OpenError::Migrate { url: url.clone(), source })
    }

    async fn notice_restore(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let begun = self.begin_epoch_if_restored().await;
        if let Some(epoch) = begun.map_err(|source| OpenError::Restore { url: url.clone(), source })? {
            tracing::warn!(%url, %epoch, "the database `{url}` is new or was restored: every host takes a snapshot");
        }
        Ok(())
    }

    async fn check_schema(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let found: i64 = match sql("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_value::<Option<i64>>(&self.database)
            .await
        {
            Ok(found) => found.unwrap_or(0),
            Err(error) if is_missing_table(&error) => 0,
            Err(source) => return Err(OpenError::Connect { url: url.clone(), source }),
        };
        let migrations = match self.database {
            Database::Sqlite { .. } => &SQLITE_MIGRATIONS,
            Database::Postgres { .. } => &POSTGRES_MIGRATIONS,
        };
        let expected = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        if found == expected {
            return Ok(());
        }
        Err(OpenError::Schema { url: url.clone(), found, expected })
    }
}

/// PostgreSQL's `undefined_table`; of SQLite, its message is all there is.
fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    const LIMITS: StoreLimits = StoreLimits {
        changes_max: 10,
        keys_per_account_max: 10,
        audit_age_max: Duration::from_hours(24),
        sends_mail: false,
    };

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrator: &Migrator| -> Vec<_> {
            migrator.iter().map(|step| (step.version, step.description.clone())).collect()
        };
        assert_eq!(names(&SQLITE_MIGRATIONS), names(&POSTGRES_MIGRATIONS));
    }

    #[tokio::test]
    async fn a_database_is_made_for_its_owner_alone_and_refused_once_others_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let url = DatabaseUrl::Sqlite(path.clone());
        assert!(matches!(Store::open(&url, Open::Examine, LIMITS).await, Err(OpenError::File { .. })));
        let store = Store::open(&url, Open::Prepare, LIMITS).await.unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        store.close().await;
        assert!(Store::open(&url, Open::Examine, LIMITS).await.is_ok());
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Store::open(&url, Open::Prepare, LIMITS).await;
        assert!(matches!(refused, Err(OpenError::Mode { mode: 0o644, .. })));
    }
}
