//! PostgreSQL: connections and their settings.

use std::env;
use std::path::Path;
use std::time::Duration;

use pushkeys_keys::Hint;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::connection::Database;
use super::error::OpenError;
use super::pools::ACQUIRE_TIMEOUT;
use super::primary::Primary;
use super::url::{DatabaseUrl, PostgresUrl};
use crate::files::{read_private, read_secret, read_trusted};
use crate::outbound::{is_about_name, rejected_certificate};

/// The parameters of a URL that name files, as sqlx calls them.
const AUTHORITY: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const OWN_CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const OWN_KEY: [&str; 2] = ["sslkey", "ssl-key"];
/// Where sqlx looks for a root certificate if the URL names none.
const AUTHORITY_VARIABLE: &str = "PGSSLROOTCERT";
/// The longest file of certificates in bytes.
const CERTIFICATES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The oldest version that the migrations run on; older ones get no security updates any more.
const VERSION_MIN: u32 = 130_000;

/// After how long PostgreSQL ends a transaction that sends no statement: its process has stopped, or its machine is gone.
const IDLE_IN_TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a statement waits for a lock, such as the writer lock.
const LOCK_TIME_MAX: Duration = Duration::from_secs(8);
/// No statement outlives the request that waits for it.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(30);
/// After how long PostgreSQL closes a connection whose other end acknowledges nothing.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(
    IDLE_IN_TRANSACTION_TIME_MAX.as_secs() + 2 < LOCK_TIME_MAX.as_secs(),
    "a writer that stopped loses its lock before those that wait for it give up"
);
const _: () = assert!(LOCK_TIME_MAX.as_secs() < STATEMENT_TIME_MAX.as_secs());

/// Time limits that the server applies to us.
fn time_limits() -> [(&'static str, u128); 4] {
    [
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIME_MAX.as_millis()),
        ("lock_timeout", LOCK_TIME_MAX.as_millis()),
        ("statement_timeout", STATEMENT_TIME_MAX.as_millis()),
        ("tcp_user_timeout", UNACKNOWLEDGED_TIME_MAX.as_millis()),
    ]
}

/// The options of a connection, from URL, password file and environment (`PGPASSFILE`, …).
pub(super) fn options(url: &PostgresUrl) -> Result<PgConnectOptions, OpenError> {
    let options: PgConnectOptions = url
        .as_str()
        .parse()
        .map_err(|source| OpenError::Connect { url: DatabaseUrl::Postgres(url.clone()), source })?;
    check_files(url)?;
    let options = match options.get_ssl_mode() {
        // As libpq does: with a root certificate, `require` verifies. sqlx would accept any certificate.
        PgSslMode::Require if has_authority(url) => options.ssl_mode(PgSslMode::VerifyCa),
        _ => options,
    };
    let Some(path) = url.password_file() else { return Ok(options) };
    let password = read_secret(path)
        .map_err(|source| OpenError::Password { path: path.to_owned(), source: Box::new(source) })?;
    Ok(options.password(&password))
}

/// Checks the files for TLS: sqlx reads them for each connection, and its error does not say which is missing.
fn check_files(url: &PostgresUrl) -> Result<(), OpenError> {
    for names in [AUTHORITY.as_slice(), &OWN_CERTIFICATE, &OWN_KEY] {
        let Some(path) = url.parameter(names) else { continue };
        let path = Path::new(&path);
        let read = if names == OWN_KEY { read_private } else { read_trusted };
        read(path, CERTIFICATES_BYTES_MAX)
            .map_err(|source| OpenError::Certificate { path: path.to_owned(), source: Box::new(source) })?;
    }
    Ok(())
}

fn has_authority(url: &PostgresUrl) -> bool {
    url.parameter(&AUTHORITY).is_some() || env::var_os(AUTHORITY_VARIABLE).is_some()
}

/// Connects; fails with sqlx's error if the server does not answer or refuses us.
pub(super) async fn connect(options: PgConnectOptions) -> sqlx::Result<Database> {
    let options = options.application_name("pushkeys-server").options(time_limits());
    // A pool would only report that it waited in vain.
    let tried = timeout(ACQUIRE_TIMEOUT, options.connect()).await;
    tried.unwrap_or(Err(sqlx::Error::PoolTimedOut))?.close().await?;
    Ok(Database::Postgres(Primary::new(options)))
}

/// What to do if TLS is the reason for `error`.
pub(super) fn tls_hint(error: &sqlx::Error) -> Option<&'static str> {
    match (rejected_certificate(error), error) {
        (Some(fault), _) if is_about_name(fault) => {
            Some("the host in the URL must be one of the names in the server's certificate")
        }
        (Some(_), _) => {
            Some("name the CA certificate that signed the server's certificate by `sslrootcert` in the URL")
        }
        (None, sqlx::Error::Tls(fault)) if fault.to_string().contains("does not support TLS") => Some(
            "set `ssl = on` in postgresql.conf; with sslmode=disable, everyone on the network path can read passwords and keys",
        ),
        _ => None,
    }
}

/// Checks version and encoding of the server of `database`, which is at `url`.
pub(super) async fn check_server(database: &Database, url: &DatabaseUrl) -> Result<(), OpenError> {
    let Database::Postgres(primary) = database else { return Ok(()) };
    let described = describe(&primary.connections().write).await;
    let (version, encoding) = described.map_err(|source| OpenError::Connect { url: url.clone(), source })?;
    if version < VERSION_MIN {
        let hint = Hint::new(format!("version {} or newer is needed", VERSION_MIN / 10_000));
        return Err(OpenError::TooOld { url: url.clone(), version, hint });
    }
    if encoding != "UTF8" {
        let hint = Hint::new("createdb --encoding=UTF8 --template=template0");
        return Err(OpenError::Encoding { url: url.clone(), encoding, hint });
    }
    Ok(())
}

/// The server's version, such as 150004 for 15.4, and the encoding of the database.
async fn describe(pool: &PgPool) -> sqlx::Result<(u32, String)> {
    let (version, encoding): (String, String) =
        sqlx::query_as("SELECT current_setting('server_version_num'), current_setting('server_encoding')")
            .fetch_one(pool)
            .await?;
    Ok((version.parse().unwrap_or(0), encoding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::url::ParseDatabaseUrlError;

    /// The mode of a connection to the database at `url`.
    #[track_caller]
    fn mode(url: &str) -> String {
        let Ok(DatabaseUrl::Postgres(url)) = url.parse() else { panic!("{url}") };
        format!("{:?}", options(&url).unwrap().get_ssl_mode())
    }

    #[test]
    fn a_connection_to_another_machine_is_plain_text_only_if_the_url_says_so() {
        for host in ["db.example.com", "192.0.2.1", "0.0.0.0", "[2001:db8::1]", "localhost.example.com"] {
            let url = format!("postgres://ana@{host}/keys");
            assert_eq!(mode(&url), "VerifyFull", "{url}");
            assert_eq!(mode(&format!("{url}#x?sslmode=disable")), "VerifyFull");
            // Also in the URL that is shown, and that pg_dump gets.
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
    fn with_a_root_certificate_the_server_is_verified() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let url = format!("postgres://db/keys?sslmode=require&sslrootcert={}", path.display());
        let Ok(DatabaseUrl::Postgres(parsed)) = url.parse() else { panic!("{url}") };
        assert!(
            matches!(options(&parsed), Err(OpenError::Certificate { path: missing, .. }) if missing == path)
        );
        std::fs::write(&path, "").unwrap();
        assert_eq!(mode(&url), "VerifyCa");
    }
}
