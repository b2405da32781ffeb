//! The URL of a database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;

use crate::outbound::is_here;

/// The parameter that says how TLS is used, as sqlx calls it.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];

/// `sqlite:///absolute/path` or `postgres://user@host/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    /// The absolute path of the file.
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database. Invariant: sqlx accepts it, it holds no password, and a server on another machine has
/// an explicit `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    text: String,
    password_file: Option<PathBuf>,
}

/// Why a text is not a database URL. No variant repeats what may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ParseDatabaseUrlError {
    #[error("a database URL begins with sqlite:///path or postgres://host")]
    Scheme,
    #[error("the path of `{}` is not absolute: sqlite:///path has three slashes", pushkeys_keys::escape(.0))]
    Relative(String),
    /// Everyone who can read the configuration or the list of processes would read it.
    #[error(
        "the database URL holds a password: put it into a file, and name that in `database_password_file` or PGPASSFILE"
    )]
    Password,
    #[error("the database URL is not like postgres://pushkeys@db.example.com/pushkeys?sslmode=verify-full")]
    Postgres,
    #[error(
        "this `sslmode` allows plain text to a server on another machine: say sslmode=verify-full, or sslmode=disable if everyone on the network path may read passwords and keys"
    )]
    MaybePlain,
}

impl DatabaseUrl {
    /// The SQLite database in the file at `path`, which is absolute.
    pub(crate) fn at(path: &str) -> Self {
        Self::Sqlite(path.into())
    }

    /// The same URL with the password in `file`, one line. Without a file, `PGPASSFILE` is used; SQLite needs none.
    pub(crate) fn with_password_file(self, file: Option<PathBuf>) -> Self {
        match self {
            Self::Postgres(url) => Self::Postgres(PostgresUrl { password_file: file, ..url }),
            sqlite @ Self::Sqlite(_) => sqlite,
        }
    }
}

impl PostgresUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The value of the last parameter with one of these names, which is the one that counts.
    pub(super) fn parameter(&self, names: &[&str]) -> Option<String> {
        parameter(&self.text, names)
    }
}

/// Whether the server is on this machine.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some() || host.starts_with('/') || is_here(host)
}

/// `text`, the URL of a server on another machine, with `sslmode=verify-full` unless it names another mode. PostgreSQL's
/// own programs get the same URL.
fn protected(text: &str, options: &PgConnectOptions) -> Result<String, ParseDatabaseUrlError> {
    let may_be_plain = matches!(options.get_ssl_mode(), PgSslMode::Prefer | PgSslMode::Allow);
    if parameter(text, &MODE).is_none() {
        let mut url = Url::parse(text).map_err(|_| ParseDatabaseUrlError::Postgres)?;
        url.query_pairs_mut().append_pair("sslmode", "verify-full");
        return Ok(url.into());
    }
    if may_be_plain { Err(ParseDatabaseUrlError::MaybePlain) } else { Ok(text.to_owned()) }
}

/// The value of the last parameter of `url` with one of these names, which is the one that counts.
fn parameter(url: &str, names: &[&str]) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let found = url.query_pairs().filter(|(name, _)| names.contains(&name.as_ref())).last();
    found.map(|(_, value)| value.into_owned())
}

impl FromStr for DatabaseUrl {
    type Err = ParseDatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseDatabaseUrlError> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            if !path.starts_with('/') {
                return Err(ParseDatabaseUrlError::Relative(text.into()));
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(ParseDatabaseUrlError::Scheme)?;
        if has_password(rest) {
            return Err(ParseDatabaseUrlError::Password);
        }
        let options: PgConnectOptions = text.parse().map_err(|_| ParseDatabaseUrlError::Postgres)?;
        let text = if is_local(&options) { text.to_owned() } else { protected(text, &options)? };
        Ok(Self::Postgres(PostgresUrl { text, password_file: None }))
    }
}

/// Whether the part after the scheme has `user:password@` or a password parameter.
fn has_password(rest: &str) -> bool {
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let user = place.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || parameters.split('&').any(|parameter| parameter.starts_with("password="))
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(out, "sqlite://{}", path.display()),
            Self::Postgres(url) => out.write_str(&url.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_by_its_absolute_path_or_a_server() {
        assert_eq!("sqlite:///var/lib/a.db".parse(), Ok(DatabaseUrl::at("/var/lib/a.db")));
        for text in ["postgres://localhost/pushkeys", "postgresql://ana@db:5433/keys?sslmode=verify-full"] {
            assert_eq!(text.parse::<DatabaseUrl>().unwrap().to_string(), text);
        }
        for text in ["sqlite://a.db", "sqlite://", "mysql://host/db", "/var/lib/a.db", "", "postgres://db:x/"]
        {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_is_refused_and_no_error_repeats_it() {
        for text in ["postgres://ana:hunter2@db/keys", "postgres://db/keys?sslmode=require&password=hunter2"]
        {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(ParseDatabaseUrlError::Password), "{text:?}");
        }
        for text in ["postgres://ana:hunter2@db:x/", "postgress://ana:hunter2@db/keys"] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
