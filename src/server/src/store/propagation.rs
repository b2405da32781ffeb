//! On which hosts a change is live.

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_feed::Cursor;

use super::acknowledgements::SILENCE_MAX;
use super::columns::{cursor, instant, to_sql};
use super::error::StoreError;
use super::handle::Store;
use super::host_names::HostId;
use crate::database::sql;

/// How often a request that waits looks at what other replicas have written.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What a host acknowledged last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostAcknowledgement {
    /// The name of the host.
    pub(crate) host: String,
    /// The last change that it has applied, if it ever acknowledged one.
    pub(crate) applied: Option<Cursor>,
    /// When it acknowledged it.
    pub(crate) seen_at: Option<Timestamp>,
}

/// On how many hosts a change is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Propagation {
    /// The connected hosts that have applied it.
    pub(crate) applied: u64,
    /// The connected hosts.
    pub(crate) of: u64,
}

impl HostAcknowledgement {
    /// Whether the host has acknowledged something lately.
    pub(crate) fn is_connected(&self, now: Timestamp) -> bool {
        self.seen_at.is_some_and(|seen_at| now.duration_since(seen_at) <= SILENCE_MAX)
    }

    /// Whether the host has applied the change `wanted`.
    pub(crate) fn has_applied(&self, wanted: &Cursor) -> bool {
        self.applied.as_ref().is_some_and(|at| at.epoch == wanted.epoch && at.sequence >= wanted.sequence)
    }
}

impl Propagation {
    /// How far `wanted` has come among the hosts that are connected.
    pub(crate) fn of(hosts: &[HostAcknowledgement], wanted: &Cursor, now: Timestamp) -> Self {
        let connected = hosts.iter().filter(|host| host.is_connected(now));
        let (mut applied, mut of) = (0, 0);
        for host in connected {
            of += 1;
            applied += u64::from(host.has_applied(wanted));
        }
        Self { applied, of }
    }
}

impl Store {
    /// Records that `host` has applied everything up to `applied`.
    pub(crate) fn record_acknowledgement(&self, host: HostId, applied: Cursor) {
        self.acknowledgements.record(host, applied);
    }

    /// Writes what hosts have acknowledged since the last time, for commands and other replicas.
    pub(crate) async fn write_acknowledgements(&self) -> Result<(), StoreError> {
        let unwritten = self.acknowledgements.take_unwritten();
        if unwritten.is_empty() {
            return Ok(());
        }
        let failed = || StoreError::of("note what hosts have applied");
        let mut transaction = self.database.begin_write().await.map_err(failed())?;
        for (host, acknowledgement) in unwritten {
            sql("INSERT INTO receipts (host_id, epoch, sequence, seen_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (host_id) DO UPDATE SET epoch = $2, sequence = $3, seen_at = $4")
            .bind(host.to_string())
            .bind(acknowledgement.applied.epoch.as_str())
            .bind(to_sql(acknowledgement.applied.sequence))
            .bind(acknowledgement.seen_at.as_millisecond())
            .execute(&mut transaction)
            .await
            .map_err(failed())?;
        }
        // This is not a change for hosts, so streams are not woken.
        transaction.commit().await.map_err(failed())
    }

    /// All hosts in the order of their names, and what they acknowledged last.
    pub(crate) async fn acknowledgements(&self) -> Result<Vec<HostAcknowledgement>, StoreError> {
        type AcknowledgementRow = (String, String, Option<String>, Option<i64>, Option<i64>);
        let rows: Vec<AcknowledgementRow> = sql(
            "SELECT hosts.id, hosts.name, receipts.epoch, receipts.sequence, receipts.seen_at FROM hosts \
             LEFT JOIN receipts ON receipts.host_id = hosts.id ORDER BY hosts.name",
        )
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list what hosts have applied"))?;
        let own = self.acknowledgements.all();
        rows.into_iter()
            .map(|(id, host, epoch, sequence, seen_at)| {
                let written = match (epoch, sequence, seen_at) {
                    (Some(epoch), Some(sequence), Some(seen_at)) => {
                        Some((cursor(&epoch, sequence)?, instant(seen_at)?))
                    }
                    _ => None,
                };
                let own = own.get(&HostId::of(id)).map(|own| (own.applied.clone(), own.seen_at));
                let newest = [written, own].into_iter().flatten().max_by_key(|(_, seen_at)| *seen_at);
                let (applied, seen_at) = newest.unzip();
                Ok(HostAcknowledgement { host, applied, seen_at })
            })
            .collect()
    }

    /// Waits until every connected host has applied the change `sequence`, or for `limit`.
    pub(crate) async fn wait_for_hosts(
        &self,
        sequence: u64,
        limit: Duration,
    ) -> Result<Propagation, StoreError> {
        let end = tokio::time::Instant::now() + limit;
        let wanted = Cursor { sequence, ..self.feed_state().await?.head.cursor };
        let mut news = self.acknowledgements.subscribe();
        loop {
            let propagation = Propagation::of(&self.acknowledgements().await?, &wanted, Timestamp::now());
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
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn only_connected_hosts_are_counted() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let host = |applied: &str, seconds_ago: i64| HostAcknowledgement {
            host: "push-1".into(),
            applied: Some(applied.parse().unwrap()),
            seen_at: Some(now - SignedDuration::from_secs(seconds_ago)),
        };
        let never = HostAcknowledgement { host: "push-2".into(), applied: None, seen_at: None };
        let check = |hosts: &[HostAcknowledgement], applied, of| {
            let wanted = "e1-7".parse().unwrap();
            assert_eq!(Propagation::of(hosts, &wanted, now), Propagation { applied, of }, "{hosts:?}");
        };
        check(&[], 0, 0);
        check(&[never], 0, 0);
        check(&[host("e1-7", 0), host("e1-9", 15), host("e1-6", 1)], 2, 3);
        check(&[host("e1-7", 16)], 0, 0);
        check(&[host("e2-8", 0)], 0, 1);
    }
}
