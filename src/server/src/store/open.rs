//! Opening the database: its file, its modes, its settings and its schema.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;
use tokio::sync::watch;

use super::{Store, StoreError, StoreLimits};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Connections that read: requests, the feed's hub, and [`crate::host_feed::SNAPSHOTS_MAX`] snapshots.
pub(crate) const READ_CONNECTIONS: u32 = 12;
/// How long a request waits for a connection before it is told to come again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a writer waits for one of another process, such as a command or an import's batch.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(READ_CONNECTIONS as usize > crate::host_feed::SNAPSHOTS_MAX + 4);

/// Where the database is: `sqlite:///absolute/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    path: PathBuf,
}

/// Why a text is not a database URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseDatabaseUrlError {
    /// Another kind of database, or none.
    #[error("`{}` is not a database URL such as sqlite:///var/lib/pushkeys-server/pushkeys.db", ::keys::escape(.0))]
    Scheme(String),
    /// It would depend on where the service was started.
    #[error("the path of `{}` is not absolute, hint: sqlite:///path has three slashes", ::keys::escape(.0))]
    Relative(String),
}

impl DatabaseUrl {
    /// The SQLite database in the file at `path`, which is absolute.
    pub(crate) fn at(path: &str) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for DatabaseUrl {
    type Err = ParseDatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseDatabaseUrlError> {
        let path =
            text.strip_prefix("sqlite://").ok_or_else(|| ParseDatabaseUrlError::Scheme(text.into()))?;
        if !path.starts_with('/') {
            return Err(ParseDatabaseUrlError::Relative(text.into()));
        }
        Ok(Self { path: path.into() })
    }
}

/// What opening may do to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Make it when it is missing, and bring its schema up to date.
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
    /// Not a database, or one that is damaged.
    #[error("cannot open the database `{}`", path.display())]
    Connect {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the schema of the database `{}` up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Which step failed.
        source: MigrateError,
    },
    /// The schema is not this version's.
    #[error("the schema of the database `{}` has version {found}, this program's is {expected}, hint: `pushkeys-server serve` brings an older one up to date", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The newest step that was applied.
        found: i64,
        /// The newest step that this program knows.
        expected: i64,
    },
}

impl Store {
    /// Opens the database at `url`.
    pub async fn open(url: &DatabaseUrl, open: Open, limits: StoreLimits) -> Result<Self, OpenError> {
        prepare_file(url.path(), open)?;
        let connect = |source| OpenError::Connect { path: url.path().to_owned(), source };
        let options = connect_options(url.path());
        // A reader that could write would take part in the queue of writers without waiting in it.
        let reader = options.clone().pragma("query_only", "ON");
        let write = pool_options(1).connect_with(options).await.map_err(connect)?;
        let read = pool_options(READ_CONNECTIONS).connect_lazy_with(reader);
        let store = Self { read, write, limits, committed: watch::Sender::new(()) };
        match open {
            Open::Prepare => store.migrate(url).await?,
            Open::Examine => store.check_schema(url).await?,
        }
        Ok(store)
    }

    /// `ok`, or the first damage that the database finds in itself.
    pub async fn check(&self) -> Result<String, StoreError> {
        sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&self.read)
            .await
            .map_err(StoreError::of("look for damage"))
    }

    async fn migrate(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let migrate = |source| OpenError::Migrate { path: url.path().to_owned(), source };
        MIGRATIONS.run(&self.write).await.map_err(migrate)
    }

    async fn check_schema(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        let connect = |source| OpenError::Connect { path: url.path().to_owned(), source };
        let found: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.write)
            .await
            .map_err(connect)?;
        let expected = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        if found == expected {
            return Ok(());
        }
        Err(OpenError::Schema { path: url.path().to_owned(), found, expected })
    }
}

/// The write-ahead log and the shared memory beside the database take over its mode.
fn prepare_file(path: &Path, open: Open) -> Result<(), OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(open == Open::Prepare)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
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

fn pool_options(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMITS: StoreLimits = StoreLimits { changes_max: 10, keys_per_account_max: 10 };

    #[test]
    fn a_database_url_is_absolute() {
        let url: DatabaseUrl = "sqlite:///var/lib/a.db".parse().unwrap();
        assert_eq!(url.path(), Path::new("/var/lib/a.db"));
        for text in ["sqlite://a.db", "sqlite://", "postgres://host/db", "/var/lib/a.db", ""] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_database_is_made_for_its_owner_alone_and_refused_once_others_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let url: DatabaseUrl = format!("sqlite://{}/a.db", directory.path().display()).parse().unwrap();
        assert!(matches!(Store::open(&url, Open::Examine, LIMITS).await, Err(OpenError::File { .. })));
        let store = Store::open(&url, Open::Prepare, LIMITS).await.unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        store.close().await;
        assert!(Store::open(&url, Open::Examine, LIMITS).await.is_ok());
        fs::set_permissions(url.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Store::open(&url, Open::Prepare, LIMITS).await;
        assert!(matches!(refused, Err(OpenError::Mode { mode: 0o644, .. })));
    }
}
