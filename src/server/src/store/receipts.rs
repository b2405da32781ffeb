//! What each host says it has applied.
//!
//! A host says so after every change, so what it says is kept in memory and written in one transaction for all hosts, a few
//! times a second: a fleet must not cost the database a write for every host and change. Replicas learn of each other's
//! hosts by the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pushkeys_feed::Cursor;
use tokio::sync::watch;

use super::sql::sql;
use super::{HostId, Store, StoreError, cursor, instant, to_sql};

/// A host says something every five seconds at least; one that was silent for so long is not there.
const SILENCE_MAX: SignedDuration = SignedDuration::from_secs(15);
/// How often somebody who waits looks at what other replicas have written.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What hosts have said to this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Receipts {
    said: Arc<Mutex<HashMap<HostId, Said>>>,
    /// Counts what was said.
    news: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct Said {
    at: Cursor,
    seen_at: Timestamp,
    is_written: bool,
}

/// A host, and what it has applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What the sysadmin calls the host.
    pub host: String,
    /// The last change that it has applied, if it ever said so.
    pub applied: Option<Cursor>,
    /// When it said so.
    pub seen_at: Option<Timestamp>,
}

/// On how many hosts a change is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Propagation {
    /// The hosts that have applied it.
    pub applied: u64,
    /// The hosts that are there.
    pub of: u64,
}

impl Receipt {
    /// Whether the host has said something lately.
    #[must_use]
    pub fn is_connected(&self, now: Timestamp) -> bool {
        self.seen_at.is_some_and(|seen_at| now.duration_since(seen_at) <= SILENCE_MAX)
    }

    /// Whether the host has applied the change `wanted`.
    #[must_use]
    pub fn has_applied(&self, wanted: &Cursor) -> bool {
        self.applied.as_ref().is_some_and(|at| at.epoch == wanted.epoch && at.sequence >= wanted.sequence)
    }
}

impl Propagation {
    /// How far `wanted` has come among the hosts that are there.
    #[must_use]
    pub fn of(receipts: &[Receipt], wanted: &Cursor, now: Timestamp) -> Self {
        let connected = receipts.iter().filter(|receipt| receipt.is_connected(now));
        let (mut applied, mut of) = (0, 0);
        for receipt in connected {
            of += 1;
            applied += u64::from(receipt.has_applied(wanted));
        }
        Self { applied, of }
    }
}

impl Receipts {
    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Said>> {
        // What was said half-way is still what was said.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.lock().values().all(|said| said.is_written)
    }
}

impl Store {
    /// Takes note that `host` has applied everything up to `at`.
    pub fn note_receipt(&self, host: HostId, at: Cursor) {
        let said = Said { at, seen_at: Timestamp::now(), is_written: false };
        self.receipts.lock().insert(host, said);
        self.receipts.news.send_modify(|count| *count += 1);
    }

    /// Writes what hosts have said since the last time, for commands and other replicas.
    pub async fn write_receipts(&self) -> Result<(), StoreError> {
        if self.receipts.is_empty() {
            return Ok(());
        }
        let news: Vec<(HostId, Said)> = {
            let mut said = self.receipts.lock();
            // Whoever is gone is remembered by the table alone.
            said.retain(|_, said| {
                !said.is_written || Timestamp::now().duration_since(said.seen_at) <= SILENCE_MAX
            });
            let news = said.iter_mut().filter(|(_, said)| !said.is_written);
            news.map(|(host, said)| {
                said.is_written = true;
                (host.clone(), said.clone())
            })
            .collect()
        };
        let failed = || StoreError::of("note what hosts have applied");
        let mut transaction = self.database.begin_write().await.map_err(failed())?;
        for (host, said) in news {
            sql("INSERT INTO receipts (host_id, epoch, sequence, seen_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (host_id) DO UPDATE SET epoch = $2, sequence = $3, seen_at = $4")
            .bind(host.to_string())
            .bind(said.at.epoch.as_str())
            .bind(to_sql(said.at.sequence))
            .bind(said.seen_at.as_millisecond())
            .execute(&mut transaction)
            .await
            .map_err(failed())?;
        }
        // No host is told of this, so nobody is to be woken for it.
        transaction.commit().await.map_err(failed())
    }

    /// All hosts in the order of their names, and what they have applied.
    pub async fn receipts(&self) -> Result<Vec<Receipt>, StoreError> {
        type Row = (String, String, Option<String>, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sql(
            "SELECT hosts.id, hosts.name, receipts.epoch, receipts.sequence, receipts.seen_at FROM hosts \
             LEFT JOIN receipts ON receipts.host_id = hosts.id ORDER BY hosts.name",
        )
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list what hosts have applied"))?;
        let said = self.receipts.lock().clone();
        rows.into_iter()
            .map(|(id, host, epoch, sequence, seen_at)| {
                let written = match (epoch, sequence, seen_at) {
                    (Some(epoch), Some(sequence), Some(seen_at)) => {
                        Some((cursor(&epoch, sequence)?, instant(seen_at)?))
                    }
                    _ => None,
                };
                let said = said.get(&HostId::of(id)).map(|said| (said.at.clone(), said.seen_at));
                let newest = [written, said].into_iter().flatten().max_by_key(|(_, seen_at)| *seen_at);
                let (applied, seen_at) = newest.unzip();
                Ok(Receipt { host, applied, seen_at })
            })
            .collect()
    }

    /// Waits until every host that is there has applied the change `sequence`, or for `limit`.
    pub async fn wait_for_hosts(&self, sequence: u64, limit: Duration) -> Result<Propagation, StoreError> {
        let end = tokio::time::Instant::now() + limit;
        let wanted = Cursor { sequence, ..self.feed_state().await?.head };
        let mut news = self.receipts.news.subscribe();
        loop {
            let propagation = Propagation::of(&self.receipts().await?, &wanted, Timestamp::now());
            if propagation.applied == propagation.of || tokio::time::Instant::now() >= end {
                return Ok(propagation);
            }
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_are_there_are_counted() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let receipt = |at: &str, seconds_ago: i64| Receipt {
            host: "push-1".into(),
            applied: Some(at.parse().unwrap()),
            seen_at: Some(now - SignedDuration::from_secs(seconds_ago)),
        };
        let never = Receipt { host: "push-2".into(), applied: None, seen_at: None };
        let check = |receipts: &[Receipt], applied, of| {
            let wanted = "e1-7".parse().unwrap();
            assert_eq!(Propagation::of(receipts, &wanted, now), Propagation { applied, of }, "{receipts:?}");
        };
        check(&[], 0, 0);
        check(&[never], 0, 0);
        check(&[receipt("e1-7", 0), receipt("e1-9", 15), receipt("e1-6", 1)], 2, 3);
        check(&[receipt("e1-7", 16)], 0, 0);
        check(&[receipt("e2-8", 0)], 0, 1);
    }
}
