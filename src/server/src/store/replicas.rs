//! What replicas of the service, each a process of its own, have to know of each other.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::StoreError;
use super::handle::Store;
use crate::database::{Database, sql};

/// What the trigger on `service` notifies.
const CHANNEL: &str = "pushkeys";
/// How long the ear that a replica has on PostgreSQL rests before it tries again.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);
/// How often SQLite is looked at for commits of this program's other commands.
const POLL_SQLITE: Duration = Duration::from_millis(100);
/// How often PostgreSQL is, in case that it could not tell.
const POLL_POSTGRES: Duration = Duration::from_secs(1);

impl Store {
    /// Wakes whenever a change that hosts are told of was committed: by this process, and on PostgreSQL by any.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        if let Database::Postgres { read, .. } = &self.database {
            tokio::spawn(listen(read.clone(), self.committed.clone()));
        }
        self.committed.subscribe()
    }

    /// How often to look for commits that [`Store::commits`] does not tell of.
    pub(crate) fn poll_interval(&self) -> Duration {
        match self.database {
            Database::Sqlite { .. } => POLL_SQLITE,
            Database::Postgres { .. } => POLL_POSTGRES,
        }
    }

    /// Whether other processes may serve requests from this database.
    pub(crate) fn has_replicas(&self) -> bool {
        matches!(self.database, Database::Postgres { .. })
    }

    /// Takes note of a signed request, for all replicas. `false`: one of them has served it.
    pub(crate) async fn use_nonce(&self, timestamp_s: i64, digest: &[u8]) -> Result<bool, StoreError> {
        let written = sql("INSERT INTO nonces (timestamp_s, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(timestamp_s)
            .bind(digest)
            .execute(&self.database)
            .await;
        Ok(written.map_err(StoreError::of("note a signed request"))? == 1)
    }

    /// Forgets signed requests of before `timestamp_s`.
    pub(crate) async fn drop_nonces(&self, timestamp_s: i64) -> Result<(), StoreError> {
        let dropped =
            sql("DELETE FROM nonces WHERE timestamp_s < $1").bind(timestamp_s).execute(&self.database).await;
        dropped.map_err(StoreError::of("forget old signed requests"))?;
        Ok(())
    }
}

/// Wakes this process at the commits of others, until the pool is closed or nobody waits any more.
async fn listen(pool: PgPool, committed: watch::Sender<()>) {
    while !pool.is_closed() {
        if let Ok(mut ear) = PgListener::connect_with(&pool).await
            && ear.listen(CHANNEL).await.is_ok()
        {
            // What was committed before is found now, whatever was notified meanwhile.
            committed.send_replace(());
            // `None` is a connection that broke.
            while let Ok(Some(_)) = ear.try_recv().await {
                committed.send_replace(());
            }
        }
        sleep(LISTEN_PAUSE).await;
    }
}
