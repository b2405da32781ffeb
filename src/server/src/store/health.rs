//! Whether the database can be read and written.

use std::time::Duration;

use pushkeys_keys::ErrorReport;
use tokio::time::{Instant, timeout};

use super::error::StoreError;
use super::handle::Store;
use super::process_state::Health;
use crate::database::{Transaction, sql};

/// How long reading, and writing, may take.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a result is valid, so that asking costs the database little however often it is done.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(1);

impl Store {
    /// Whether the database was read and written within the last second; finds it out if that is not known.
    pub(crate) async fn health(&self) -> Health {
        let mut last = self.health.0.lock().await;
        match *last {
            Some((at, health)) if at.elapsed() < HEALTH_AGE_MAX => health,
            before => {
                let health = self.find_out_health(before.is_none_or(|(_, health)| health.is_good())).await;
                *last = Some((Instant::now(), health));
                health
            }
        }
    }

    /// `is_news`: failures are logged.
    async fn find_out_health(&self, is_news: bool) -> Health {
        let reads = timeout(HEALTH_TIME_MAX, async { self.feed_state().await.map(drop) });
        let writes = timeout(HEALTH_TIME_MAX, self.write_nothing());
        let (reads, writes) = tokio::join!(reads, writes);
        let has_succeeded = |what: &str, result: Result<Result<(), StoreError>, _>| {
            let why = match result {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => ErrorReport::of(&error).to_string(),
                Err(_) => format!("it took more than {} s", HEALTH_TIME_MAX.as_secs()),
            };
            if is_news {
                tracing::warn!("not healthy: the database cannot be {what}: {why}");
            }
            false
        };
        let health = Health { reads: has_succeeded("read", reads), writes: has_succeeded("written", writes) };
        if !is_news && health.is_good() {
            tracing::info!("healthy again: the database can be read and written");
        }
        health
    }

    /// Commits a transaction that takes the writer lock and room on the disk, and changes nothing.
    async fn write_nothing(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let write = match &transaction {
            // Even a row that stays the same is a page for the write-ahead log.
            Transaction::Sqlite(_) => sql("UPDATE service SET hosts_version = hosts_version"),
            // A record for the log, and for standbys that confirm; unlike a row it wakes no replica.
            Transaction::Postgres(_) => sql("SELECT pg_logical_emit_message(true, 'pushkeys', '')"),
        };
        write.execute(&mut transaction).await.map_err(StoreError::of("try a write"))?;
        transaction.commit().await.map_err(StoreError::of("commit"))
    }
}
