//! On which hosts a change is live.

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_feed::Cursor;
use tokio::time::{Instant, sleep, sleep_until};

use super::acknowledgements::SILENCE_MAX;
use super::columns::{cursor, instant, to_sql};
use super::error::StoreError;
use super::handle::Store;
use super::host_names::HostId;
use super::process_state::{HostAcknowledgement, SeenHosts};
use crate::database::sql;

/// How often a request that waits looks at what other replicas have written.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The most silent hosts that a response names.
const SILENT_SHOWN_MAX: usize = 10;
/// For how many times as long as it took to read what all hosts have acknowledged, requests share it: so waiting takes a tenth
/// of a connection and of a processor at most, however many requests wait for however many hosts.
const VIEW_SHARE: u32 = 10;

/// On how many hosts a change is live.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Propagation {
    /// The hosts that have applied it.
    pub(crate) applied: u64,
    /// The hosts that have ever been there.
    pub(crate) of: u64,
    /// Those that have not applied it and are not there, at most [`SILENT_SHOWN_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) silent: Vec<SilentHost>,
    /// Whether a host that is there has not applied it yet.
    #[serde(skip)]
    pub(crate) is_under_way: bool,
}

/// A host that has acknowledged nothing lately.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct SilentHost {
    /// The name of the host.
    pub(crate) host: String,
    /// For how long, in seconds.
    pub(crate) seconds: u64,
}

impl std::fmt::Display for SilentHost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} silent for {} min", self.host, self.seconds.div_ceil(60))
    }
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
    /// How far `wanted` has come among `hosts`. One that was never there has no keys, and does not count.
    pub(crate) fn of(hosts: &[HostAcknowledgement], wanted: &Cursor, now: Timestamp) -> Self {
        let mut propagation = Self { applied: 0, of: 0, silent: Vec::new(), is_under_way: false };
        for host in hosts {
            let Some(seen_at) = host.seen_at else { continue };
            propagation.of += 1;
            if host.has_applied(wanted) {
                propagation.applied += 1;
            } else if host.is_connected(now) {
                propagation.is_under_way = true;
            } else if propagation.silent.len() < SILENT_SHOWN_MAX {
                let seconds = u64::try_from(now.duration_since(seen_at).as_secs()).unwrap_or(0);
                propagation.silent.push(SilentHost { host: host.host.clone(), seconds });
            }
        }
        propagation
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
        let end = Instant::now() + limit;
        let wanted = Cursor { sequence, ..self.feed_state().await?.head.cursor };
        let mut news = self.acknowledgements.subscribe();
        loop {
            let seen = self.seen_hosts().await?;
            let propagation = Propagation::of(&seen.hosts, &wanted, Timestamp::now());
            if !propagation.is_under_way || Instant::now() >= end {
                return Ok(propagation);
            }
            tokio::select! {
                _ = news.changed() => {}
                () = sleep(LOOK_INTERVAL) => {}
                () = sleep_until(end) => {}
            }
            sleep_until(seen.until.min(end)).await;
        }
    }

    /// What all hosts have acknowledged a moment ago. Of requests that ask at once, one reads it for all.
    async fn seen_hosts(&self) -> Result<SeenHosts, StoreError> {
        let mut view = self.host_view.0.lock().await;
        if let Some(seen) = view.as_ref().filter(|seen| Instant::now() < seen.until) {
            return Ok(seen.clone());
        }
        let begun_at = Instant::now();
        let hosts = self.acknowledgements().await?.into();
        let read_at = Instant::now();
        let seen = SeenHosts { hosts, until: read_at + (read_at - begun_at) * VIEW_SHARE };
        *view = Some(seen.clone());
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn hosts_that_were_ever_there_are_counted_and_the_silent_ones_are_named() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let host = |applied: &str, seconds_ago: i64| HostAcknowledgement {
            host: "push-1".into(),
            applied: Some(applied.parse().unwrap()),
            seen_at: Some(now - SignedDuration::from_secs(seconds_ago)),
        };
        let never = HostAcknowledgement { host: "push-2".into(), applied: None, seen_at: None };
        let check = |hosts: &[HostAcknowledgement], applied, of, silent: &[&str], is_under_way| {
            let propagation = Propagation::of(hosts, &"e1-7".parse().unwrap(), now);
            let named: Vec<String> = propagation.silent.iter().map(ToString::to_string).collect();
            assert_eq!((propagation.applied, propagation.of), (applied, of), "{hosts:?}");
            assert_eq!(
                (named, propagation.is_under_way),
                (silent.iter().map(ToString::to_string).collect(), is_under_way)
            );
        };
        check(&[], 0, 0, &[], false);
        check(&[never], 0, 0, &[], false);
        check(&[host("e1-7", 0), host("e1-9", 15), host("e1-6", 1)], 2, 3, &[], true);
        check(&[host("e1-7", 0), host("e1-6", 180)], 1, 2, &["push-1 silent for 3 min"], false);
        check(&[host("e1-7", 16)], 1, 1, &[], false);
        check(&[host("e2-8", 0)], 0, 1, &[], true);
        assert_eq!(
            Propagation::of(&vec![host("e1-1", 99); 99], &"e1-7".parse().unwrap(), now).silent.len(),
            SILENT_SHOWN_MAX
        );
    }
}
