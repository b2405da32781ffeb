//! Where the database is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fmt};

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;

use super::OpenError;
use crate::files::{read_private, read_secret, read_trusted};
use crate::outbound::is_here;

/// What sqlx calls the parameters that we look at too.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const AUTHORITY: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const OWN_CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const OWN_KEY: [&str; 2] = ["sslkey", "ssl-key"];
/// What sqlx takes a root certificate from when the URL names none.
const AUTHORITY_VARIABLE: &str = "PGSSLROOTCERT";
/// The longest file of certificates in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the database is: `sqlite:///absolute/path`, or `postgres://user@host/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// In a file, whose path is absolute.
    Sqlite(PathBuf),
    /// In a PostgreSQL server.
    Postgres(PostgresUrl),
}

/// The address of a PostgreSQL database. Invariant: sqlx reads it, no password is in it, and what it says of TLS is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: String,
    password_file: Option<PathBuf>,
}

/// Why a text is not a database URL. None repeats what may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseDatabaseUrlError {
    /// Another kind of database, or none.
    #[error("a database URL begins with sqlite:///path or postgres://host")]
    Scheme,
    /// It would depend on where the service was started.
    #[error("the path of `{}` is not absolute, hint: sqlite:///path has three slashes", pushkeys_keys::escape(.0))]
    Relative(String),
    /// Whoever reads the configuration, or a list of processes, would read it.
    #[error(
        "the database URL holds a password, hint: put it into a file, and name that in `database_password_file` or PGPASSFILE"
    )]
    Password,
    /// Not what sqlx reads.
    #[error(
        "the database URL is not such as postgres://pushkeys@db.example.com/pushkeys?sslmode=verify-full"
    )]
    Postgres,
    /// What it says of TLS may mean none.
    #[error(
        "with this `sslmode` a server on another machine may be spoken to in plain text, hint: sslmode=verify-full, or sslmode=disable if all on the way may read passwords and keys"
    )]
    MaybePlain,
}

impl DatabaseUrl {
    /// The SQLite database in the file at `path`, which is absolute.
    pub(crate) fn at(path: &str) -> Self {
        Self::Sqlite(path.into())
    }

    /// The same with the password in `file`, one line. Without a file, `PGPASSFILE` counts; SQLite needs none.
    #[must_use]
    pub fn with_password_file(self, file: Option<PathBuf>) -> Self {
        match self {
            Self::Postgres(url) => Self::Postgres(PostgresUrl { password_file: file, ..url }),
            sqlite @ Self::Sqlite(_) => sqlite,
        }
    }
}

impl PostgresUrl {
    /// How to connect, as URL, password file and environment (`PGPASSFILE`, …) say.
    pub(super) fn options(&self) -> Result<PgConnectOptions, OpenError> {
        let url = || DatabaseUrl::Postgres(self.clone());
        let options: PgConnectOptions =
            self.text.parse().map_err(|source| OpenError::Connect { url: url(), source })?;
        self.check_files()?;
        let options = match options.get_ssl_mode() {
            // Who names an authority has it asked, as libpq does; sqlx alone would believe any certificate.
            PgSslMode::Require if self.has_authority() => options.ssl_mode(PgSslMode::VerifyCa),
            _ => options,
        };
        let Some(path) = &self.password_file else { return Ok(options) };
        let password = read_secret(path)
            .map_err(|source| OpenError::Password { path: path.clone(), source: Box::new(source) })?;
        Ok(options.password(&password))
    }

    /// Looks at the files that TLS needs: sqlx reads them at each connection, and would not say which it misses.
    fn check_files(&self) -> Result<(), OpenError> {
        for names in [AUTHORITY.as_slice(), &OWN_CERTIFICATE, &OWN_KEY] {
            let Some(path) = parameter(&self.text, names) else { continue };
            let path = Path::new(&path);
            let read = if names == OWN_KEY { read_private } else { read_trusted };
            read(path, CERTIFICATES_BYTES_MAX).map_err(|source| OpenError::Certificate {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    fn has_authority(&self) -> bool {
        parameter(&self.text, &AUTHORITY).is_some() || env::var_os(AUTHORITY_VARIABLE).is_some()
    }
}

/// Whether the server is on this machine, so that nobody in between reads what is sent.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some() || host.starts_with('/') || is_here(host)
}

/// `text`, the URL of a server on another machine, which is to prove by a certificate who it is unless the URL names
/// another mode. It says so from then on, also to programs of PostgreSQL that are given it.
fn protected(text: &str, options: &PgConnectOptions) -> Result<String, ParseDatabaseUrlError> {
    let may_be_plain = matches!(options.get_ssl_mode(), PgSslMode::Prefer | PgSslMode::Allow);
    if parameter(text, &MODE).is_none() {
        let mut url = Url::parse(text).map_err(|_| ParseDatabaseUrlError::Postgres)?;
        url.query_pairs_mut().append_pair("sslmode", "verify-full");
        return Ok(url.into());
    }
    if may_be_plain { Err(ParseDatabaseUrlError::MaybePlain) } else { Ok(text.to_owned()) }
}

/// The value of the last parameter of `url` that has one of these names: it is the one that counts.
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

/// Whether what follows the scheme has `user:password@`, or a parameter that is one.
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

    /// The mode of a connection to the database at `url`.
    #[track_caller]
    fn mode(url: &str) -> String {
        let Ok(DatabaseUrl::Postgres(url)) = url.parse() else { panic!("{url}") };
        format!("{:?}", url.options().unwrap().get_ssl_mode())
    }

    #[test]
    fn another_machine_is_spoken_to_in_plain_text_only_where_the_url_says_so() {
        for host in ["db.example.com", "192.0.2.1", "0.0.0.0", "[2001:db8::1]", "localhost.example.com"] {
            let url = format!("postgres://ana@{host}/keys");
            assert_eq!(mode(&url), "VerifyFull", "{url}");
            assert_eq!(mode(&format!("{url}#x?sslmode=disable")), "VerifyFull");
            // What is shown, and given to pg_dump, says so too.
            assert_eq!(url.parse::<DatabaseUrl>().unwrap().to_string(), format!("{url}?sslmode=verify-full"));
            assert_eq!(mode(&format!("{url}?sslmode=require")), "Require");
            assert_eq!(mode(&format!("{url}?sslmode=disable")), "Disable");
            for plain in
                ["sslmode=prefer", "sslmode=allow", "ssl-mode=Prefer", "sslmode=require&sslmode=allow"]
            {
                let refused = format!("{url}?{plain}").parse::<DatabaseUrl>();
                assert_eq!(refused, Err(ParseDatabaseUrlError::MaybePlain), "{url}?{plain}");
            }
        }
        assert_eq!(mode("postgres://localhost/keys?host=db.example.com"), "VerifyFull");
        for here in ["localhost", "127.0.0.1", "127.8.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://ana@{here}/keys")), "Prefer", "{here}");
            assert_eq!(mode(&format!("postgres://ana@{here}/keys?sslmode=allow")), "Allow", "{here}");
        }
    }

    #[test]
    fn an_authority_that_is_named_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let url = format!("postgres://db/keys?sslmode=require&sslrootcert={}", path.display());
        let Ok(DatabaseUrl::Postgres(parsed)) = url.parse() else { panic!("{url}") };
        assert!(
            matches!(parsed.options(), Err(OpenError::Certificate { path: missing, .. }) if missing == path)
        );
        std::fs::write(&path, "").unwrap();
        assert_eq!(mode(&url), "VerifyCa");
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
