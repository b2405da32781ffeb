//! The PostgreSQL that takes writes, and its replacement by another.
//!
//! A server that vanishes without a word ends no connection: TCP waits for minutes, and a proxy between the two for ever.
//! A primary that was demoted, or an address that now leads to another server, leaves connections that work and are of no
//! use. So [`Primary::watch`] asks once a second, on a connection of its own, whether the server answers and takes writes. If it
//! does not, all connections are given up at once, with whatever waits on them. While no server takes writes every
//! statement fails without waiting, and as soon as one does there are new connections.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{io, mem};

use futures_util::future::join;
use pushkeys_keys::ErrorReport;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::pools::{ACQUIRE_TIMEOUT, READ_CONNECTIONS};

/// Connections that write; most of them wait for the writer lock.
const WRITE_CONNECTIONS: u32 = 4;
/// How long an idle connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_mins(10);
/// The pause between two questions to the server.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long the server may take to answer, or to accept a connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long statements have to end on connections that are replaced although the server answered.
const REPLACED_TIME_MAX: Duration = Duration::from_secs(3);

/// Where the primary is, and the connections to it.
pub(crate) struct Primary {
    options: PgConnectOptions,
    connections: RwLock<Connections>,
}

/// Connections that are used and given up together.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) read: PgPool,
    pub(super) write: PgPool,
    pub(super) given_up: GivenUp,
}

/// Whether connections are given up, and statements on them fail.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(CancellationToken);

/// Why a server is not used.
#[derive(Debug, Error)]
enum Refused {
    #[error("it does not answer within {} s", ANSWER_TIME_MAX.as_secs())]
    Silent(#[from] Elapsed),
    #[error("it takes no writes")]
    ReadOnly,
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
}

impl Primary {
    /// Connects when the first statement is run.
    pub(super) fn new(options: PgConnectOptions) -> Arc<Self> {
        let connections = RwLock::new(Connections::new(&options));
        Arc::new(Self { options, connections })
    }

    /// The connections that are in use now.
    pub(crate) fn connections(&self) -> Connections {
        self.connections.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches the server, until the connections are closed.
    pub(crate) async fn watch(&self) {
        let mut was_connected = false;
        loop {
            let connected = self.connect().await;
            let connections = self.connections();
            if connections.is_closed() {
                return;
            }
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(why) => {
                    connections.give_up(&why);
                    sleep(CONNECT_PAUSE).await;
                    continue;
                }
            };
            // Other connections may lead to where the one did that failed.
            if was_connected || connections.given_up.0.is_cancelled() {
                self.replace();
            }
            was_connected = true;
            let why = loop {
                sleep(WATCH_INTERVAL).await;
                if self.connections().is_closed() {
                    return;
                }
                if let Err(why) = ask(&mut connection).await {
                    break why;
                }
            };
            // Of a connection that broke, the next attempt finds out what became of the server.
            if !matches!(why, Refused::Failed(_)) {
                self.connections().give_up(&why);
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, Refused> {
        let mut connection = timeout(ANSWER_TIME_MAX, self.options.connect()).await??;
        ask(&mut connection).await?;
        Ok(connection)
    }

    fn replace(&self) {
        let replaced = {
            let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
            mem::replace(&mut *connections, Connections::new(&self.options))
        };
        tracing::info!("connected to the database again");
        tokio::spawn(async move { replaced.close(REPLACED_TIME_MAX).await });
    }
}

impl Connections {
    fn new(options: &PgConnectOptions) -> Self {
        let pool = |connections_max| {
            PgPoolOptions::new()
                .max_connections(connections_max)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(IDLE_TIME_MAX)
                // One that has broken is replaced before it is used.
                .test_before_acquire(true)
                .connect_lazy_with(options.clone())
        };
        Self { read: pool(READ_CONNECTIONS), write: pool(WRITE_CONNECTIONS), given_up: GivenUp::default() }
    }

    /// Waits until the connections are given up or closed.
    pub(crate) async fn end(&self) {
        tokio::select! {
            () = self.given_up.0.cancelled() => {}
            () = self.read.close_event() => {}
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.read.is_closed()
    }

    /// Ends all connections, and gives up those whose statement has not ended within `time_max`.
    pub(super) async fn close(&self, time_max: Duration) {
        let _ = timeout(time_max, join(self.read.close(), self.write.close())).await;
        self.given_up.0.cancel();
    }

    fn give_up(&self, why: &Refused) {
        // The server answers: it has no room for one connection more.
        let is_full =
            matches!(why, Refused::Failed(error) if code(error).is_some_and(|code| code.starts_with("53")));
        if !is_full && !self.given_up.0.is_cancelled() {
            tracing::error!(
                "the database cannot be used, and is tried again until it can: {}",
                ErrorReport::of(why)
            );
            self.given_up.0.cancel();
        }
    }
}

impl GivenUp {
    /// What `work` returns, or an error as soon as the connections are given up.
    pub(crate) async fn or_fail<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        self.0.run_until_cancelled(work).await.unwrap_or_else(|| {
            let error = io::Error::new(io::ErrorKind::NotConnected, "no server takes writes");
            Err(sqlx::Error::Io(error))
        })
    }
}

/// Whether the server at the other end answers and takes writes. A standby does not, nor does a primary that was made
/// read-only.
async fn ask(connection: &mut PgConnection) -> Result<(), Refused> {
    let setting = sqlx::query_scalar("SELECT current_setting('transaction_read_only')").fetch_one(connection);
    let is_read_only: String = timeout(ANSWER_TIME_MAX, setting).await??;
    if is_read_only == "on" { Err(Refused::ReadOnly) } else { Ok(()) }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}
