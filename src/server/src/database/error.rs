//! Why a database cannot be used.

use std::error::Error;
use std::path::PathBuf;

use pushkeys_files::Untrusted;
use pushkeys_keys::Hint;
use sqlx::migrate::MigrateError;
use thiserror::Error;

use super::url::DatabaseUrl;
use crate::files::FileError;

/// Why the database cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The file, or the folder that it is to be made in.
    #[error("there is no database file `{}`", .0.display())]
    Missing(PathBuf),
    /// It is not ours to open.
    #[error("cannot open the database file")]
    File(#[source] Box<dyn Error + Send + Sync>),
    /// Others could read or change the keys.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Not a database, one that is damaged, or a server that does not answer or let us in.
    #[error("cannot open the database `{url}`")]
    Connect { url: DatabaseUrl, source: sqlx::Error },
    /// The server did not prove who it is, or cannot speak TLS.
    #[error("cannot open the database `{url}` over TLS")]
    Tls { url: DatabaseUrl, source: Hint },
    /// A file that TLS needs: missing, or for others too.
    #[error("cannot use `{}`, which the database URL names", path.display())]
    Certificate { path: PathBuf, source: Box<FileError> },
    /// Missing, or readable by others.
    #[error("cannot use the database password in `{}`", path.display())]
    Password { path: PathBuf, source: Box<FileError> },
    /// A PostgreSQL without what we use.
    #[error("the server of the database `{url}` is PostgreSQL {}", version / 10_000)]
    TooOld {
        url: DatabaseUrl,
        /// Such as 150004 for 15.4.
        version: u32,
        /// Names the oldest that serves.
        #[source]
        hint: Hint,
    },
    /// Names would not come back as they were given.
    #[error("the database `{url}` has the encoding {encoding}")]
    Encoding {
        url: DatabaseUrl,
        /// What it has instead of UTF8.
        encoding: String,
        #[source]
        hint: Hint,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the schema of the database `{url}` up to date")]
    Migrate { url: DatabaseUrl, source: MigrateError },
    /// The schema is not this version's.
    #[error("the schema of the database `{url}` has version {found}, this program's is {expected}")]
    Schema {
        url: DatabaseUrl,
        /// The newest step that was applied; 0: none.
        found: i64,
        expected: i64,
        #[source]
        hint: Hint,
    },
}
