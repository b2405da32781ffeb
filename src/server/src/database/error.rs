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
    /// The file, or the directory in which to create it.
    #[error("there is no database file `{}`", .0.display())]
    Missing(PathBuf),
    /// It cannot be opened by this user.
    #[error("cannot open the database file")]
    File(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Not a database, a damaged one, or a server that does not answer or refuses the connection.
    #[error("cannot open the database `{url}`")]
    Connect { url: DatabaseUrl, source: sqlx::Error },
    /// The server's certificate is not accepted, or it does not support TLS.
    #[error("cannot open the database `{url}` over TLS")]
    Tls { url: DatabaseUrl, source: Hint },
    /// A file for TLS: missing, or not private.
    #[error("cannot use `{}`, which the database URL names", path.display())]
    Certificate { path: PathBuf, source: Box<FileError> },
    /// Missing, or readable by others.
    #[error("cannot use the database password in `{}`", path.display())]
    Password { path: PathBuf, source: Box<FileError> },
    #[error("the server of the database `{url}` is PostgreSQL {}", version / 10_000)]
    TooOld {
        url: DatabaseUrl,
        /// Such as 150004 for 15.4.
        version: u32,
        /// Names the oldest supported one.
        #[source]
        hint: Hint,
    },
    /// Names would not be stored as they are.
    #[error("the database `{url}` has the encoding {encoding}")]
    Encoding {
        url: DatabaseUrl,
        encoding: String,
        #[source]
        hint: Hint,
    },
    #[error("cannot bring the schema of the database `{url}` up to date")]
    Migrate { url: DatabaseUrl, source: MigrateError },
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
