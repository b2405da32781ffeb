//! What replicas of the service share through the database: commits, and the nonces of signed requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::StoreError;
use super::handle::Store;
use crate::database::{Database, Primary, many, sql};

/// The channel that the trigger on `service` notifies.
const CHANNEL: &str = "pushkeys";
/// The pause before a listener reconnects.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);
/// How often SQLite is polled for commits of this program's commands.
const POLL_SQLITE: Duration = Duration::from_millis(100);
/// How often PostgreSQL is polled, in case a notification was lost.
const POLL_POSTGRES: Duration = Duration::from_secs(1);

/// The nonce of a signed request, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Nonce {
    /// When the request was signed, in seconds since 1970.
    pub(crate) timestamp_s: i64,
    /// SHA-256 of token and nonce.
    pub(crate) digest: [u8; 32],
}

impl Store {
    /// Watches the database until the store is closed: whether it takes writes, and commits of other processes. Without
    /// it [`Store::commits`] reports those of this process only.
    pub(crate) fn watch(&self) {
        if let Database::Postgres(primary) = &self.database {
            let (watched, listened) = (primary.clone(), primary.clone());
            tokio::spawn(async move { watched.watch().await });
            tokio::spawn(listen(listened, self.committed.clone()));
        }
    }

    /// Wakes when a change was committed: by this process, and on PostgreSQL by any.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        self.committed.subscribe()
    }

    /// How often to poll for commits that [`Store::commits`] does not report.
    pub(crate) fn poll_interval(&self) -> Duration {
        match self.database {
            Database::Sqlite { .. } => POLL_SQLITE,
            Database::Postgres(_) => POLL_POSTGRES,
        }
    }

    /// Whether other processes may serve requests from this database.
    pub(crate) fn has_replicas(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    /// Records a signed request for all replicas. `false`: one of them has served it.
    pub(crate) async fn add_nonce(&self, nonce: &Nonce) -> Result<bool, StoreError> {
        let written = sql("INSERT INTO nonces (timestamp_s, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(nonce.timestamp_s)
            .bind(nonce.digest.as_slice())
            .execute(&self.database)
            .await;
        Ok(written.map_err(StoreError::of("record a signed request"))? == 1)
    }

    /// Records signed requests, some hundred at most, and returns those that were not served.
    pub(crate) async fn add_nonces(&self, nonces: HashSet<Nonce>) -> Result<HashSet<Nonce>, StoreError> {
        let failed = || StoreError::of("record signed requests");
        let mut transaction = self.begin_write().await?;
        let rows = nonces.iter().map(|nonce| [nonce.timestamp_s.into(), nonce.digest.as_slice().into()]);
        let added: Vec<(i64, Vec<u8>)> =
            many("INSERT INTO nonces (timestamp_s, digest) {rows} ON CONFLICT DO NOTHING RETURNING timestamp_s, digest", rows)
                .fetch_all(&mut transaction)
                .await
                .map_err(failed())?;
        // This is not a change for hosts, so streams are not woken.
        transaction.commit().await.map_err(failed())?;
        let added: HashSet<(i64, Vec<u8>)> = added.into_iter().collect();
        let is_new = |nonce: &Nonce| added.contains(&(nonce.timestamp_s, nonce.digest.to_vec()));
        Ok(nonces.into_iter().filter(is_new).collect())
    }

    /// Removes signed requests from before `timestamp_s`.
    pub(crate) async fn remove_nonces(&self, timestamp_s: i64) -> Result<(), StoreError> {
        let dropped =
            sql("DELETE FROM nonces WHERE timestamp_s < $1").bind(timestamp_s).execute(&self.database).await;
        dropped.map_err(StoreError::of("drop old signed requests"))?;
        Ok(())
    }
}

/// Wakes this process at commits of others, until the connections are closed.
async fn listen(primary: Arc<Primary>, committed: watch::Sender<()>) {
    while !primary.connections().is_closed() {
        let connections = primary.connections();
        tokio::select! {
            () = connections.end() => {}
            () = listen_on(&connections.read, &committed) => {}
        }
        sleep(LISTEN_PAUSE).await;
    }
}

/// Wakes this process until the connection is lost.
async fn listen_on(pool: &PgPool, committed: &watch::Sender<()>) {
    if let Ok(mut listener) = PgListener::connect_with(pool).await
        && listener.listen(CHANNEL).await.is_ok()
    {
        // For commits from before the listener was connected.
        committed.send_replace(());
        // `None`: the connection was lost.
        while let Ok(Some(_)) = listener.try_recv().await {
            committed.send_replace(());
        }
    }
}
