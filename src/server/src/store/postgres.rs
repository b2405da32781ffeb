//! PostgreSQL: connections and their settings.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::open::{ACQUIRE_TIMEOUT, READ_CONNECTIONS};
use super::sql::Database;
use crate::outbound::{is_about_name, rejected_certificate};

/// Connections that write, most of which wait for the lock that puts writers in order.
const WRITE_CONNECTIONS: u32 = 4;
/// How long a connection that nobody needs is kept.
const IDLE_TIME_MAX: Duration = Duration::from_mins(10);
/// The oldest version that has what the migrations use; what is older gets no more security updates.
pub(super) const VERSION_MIN: u32 = 130_000;

/// What the server is to give up for us, in milliseconds. A writer that stops half-way, with its machine, must not
/// keep all others from writing; a statement that nobody waits for any more must not go on.
const SETTINGS: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "10000"),
    ("lock_timeout", "10000"),
    ("statement_timeout", "30000"),
    ("tcp_user_timeout", "10000"),
];

/// Connects; gives what sqlx says when nobody answers, or not to us.
pub(super) async fn connect(options: PgConnectOptions) -> sqlx::Result<Database> {
    let options = options.application_name("pushkeys-server").options(SETTINGS);
    // Of a server that does not answer, or not to us, a pool says nothing but that it waited.
    let tried = timeout(ACQUIRE_TIMEOUT, options.connect()).await;
    tried.unwrap_or(Err(sqlx::Error::PoolTimedOut))?.close().await?;
    let write = pool_options(WRITE_CONNECTIONS).connect_with(options.clone()).await?;
    let read = pool_options(READ_CONNECTIONS).connect_lazy_with(options);
    Ok(Database::Postgres { read, write })
}

/// What to do where TLS is why there is no connection.
pub(super) fn tls_hint(error: &sqlx::Error) -> Option<&'static str> {
    match (rejected_certificate(error), error) {
        (Some(fault), _) if is_about_name(fault) => {
            Some("the host in the URL is to be one of the names in the server's certificate")
        }
        (Some(_), _) => {
            Some("name the authority that signed the server's certificate by `sslrootcert` in the URL")
        }
        (None, sqlx::Error::Tls(fault)) if fault.to_string().contains("does not support TLS") => Some(
            "set `ssl = on` in postgresql.conf; sslmode=disable goes without, and all on the way may read passwords and keys",
        ),
        _ => None,
    }
}

/// The server's version, such as 150004 for 15.4, and the encoding of the database.
pub(super) async fn describe(pool: &PgPool) -> sqlx::Result<(u32, String)> {
    let (version, encoding): (String, String) =
        sqlx::query_as("SELECT current_setting('server_version_num'), current_setting('server_encoding')")
            .fetch_one(pool)
            .await?;
    Ok((version.parse().unwrap_or(0), encoding))
}

/// A connection that broke while nobody used it is noticed before it is lent out, and made again.
fn pool_options(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIME_MAX)
        .test_before_acquire(true)
}
