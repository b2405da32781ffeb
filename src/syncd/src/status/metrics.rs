//! What Prometheus reads, made of the status at each request. Labels are names of the configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use pushkeys_cache::status::State;
use pushkeys_feed::Cursor;
use pushkeys_keys::SourceName;

use super::facts::SourceFacts;
use super::store::StatusStore;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    source: String,
    state: &'static str,
}

/// The numbers of every source.
#[derive(Default)]
struct Numbers {
    keys: Family<OfSource, Gauge>,
    lag: Family<OfSource, Gauge>,
    synced: Family<OfSource, Gauge>,
    valid_until: Family<OfSource, Gauge>,
    held: Family<OfSource, Gauge>,
    skipped: Family<OfSource, Gauge>,
    state: Family<InState, Gauge>,
    changes: Family<OfSource, Counter>,
    reconnects: Family<OfSource, Counter>,
}

/// The state of the daemon in the text format of OpenMetrics.
pub(crate) fn text(status: &StatusStore) -> String {
    let facts = status.facts();
    let mut registry = Registry::with_prefix("pushkeys_syncd");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version of the daemon", version);
    let conflicts: Gauge = Gauge::default();
    conflicts.set(to_gauge(facts.conflicts.len() as u64));
    registry.register(
        "conflicts",
        "Keys that two sources give to different accounts, and that are refused",
        conflicts,
    );
    let refused: Gauge = Gauge::default();
    refused.set(i64::from(facts.config_error.is_some()));
    registry.register(
        "config_refused",
        "1 while the newest configuration is refused and the one before in force",
        refused,
    );
    let unwatched: Gauge = Gauge::default();
    unwatched.set(i64::from(facts.watch_error().is_some()));
    registry.register(
        "files_unwatched",
        "1 while changes of files are not noticed at once, because watches are exhausted",
        unwatched,
    );
    // Without an answer there is no number.
    if let Some(Ok(disk)) = status.folder().map(rustix::fs::statvfs) {
        let (bytes, files): (Gauge, Gauge) = Default::default();
        bytes.set(to_gauge(disk.f_bavail.saturating_mul(disk.f_frsize)));
        registry.register("cache_disk_available_bytes", "Room on the disk of the cache", bytes);
        // Some file systems make inodes as they need them.
        if disk.f_files > 0 {
            files.set(to_gauge(disk.f_favail));
            registry.register("cache_disk_available_files", "Inodes left on the disk of the cache", files);
        }
    }
    let numbers = Numbers::default();
    for (name, source) in &facts.sources {
        numbers.add(name, source);
    }
    numbers.register(registry.sub_registry_with_prefix("source"));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

impl Numbers {
    fn add(&self, name: &SourceName, facts: &SourceFacts) {
        let source = || OfSource { source: name.to_string() };
        self.keys.get_or_create(&source()).set(to_gauge(facts.keys()));
        if let Some(lag) = lag(facts) {
            self.lag.get_or_create(&source()).set(to_gauge(lag));
        }
        if let Some(head) = &facts.head {
            self.synced.get_or_create(&source()).set(head.stamps.synced_at.as_second());
            if let Some(valid_until) = head.stamps.valid_until {
                self.valid_until.get_or_create(&source()).set(valid_until.as_second());
            }
        }
        self.held.get_or_create(&source()).set(i64::from(facts.held.is_some()));
        self.skipped.get_or_create(&source()).set(to_gauge(facts.skipped.count));
        for state in State::ALL {
            let labels = InState { source: name.to_string(), state: state.as_str() };
            self.state.get_or_create(&labels).set(i64::from(state == facts.state));
        }
        self.changes.get_or_create(&source()).inc_by(facts.changes);
        self.reconnects.get_or_create(&source()).inc_by(facts.failures);
    }

    fn register(self, registry: &mut Registry) {
        registry.register("keys", "Keys in force", self.keys);
        registry.register("lag", "Changes that the source is known to be ahead", self.lag);
        registry.register(
            "synced_timestamp_seconds",
            "When the cache was last in sync with its source",
            self.synced,
        );
        registry.register(
            "valid_until_timestamp_seconds",
            "Until when lookups are answered; absent for ever, or while nothing is in force",
            self.valid_until,
        );
        registry.register("held", "1 while a snapshot waits for confirmation", self.held);
        registry.register("skipped", "Entries left out since the last full sync", self.skipped);
        registry.register("state", "1 for the state that the source is in", self.state);
        registry.register("changes", "Keys that were added, changed or removed", self.changes);
        registry.register(
            "reconnects",
            "Connections and syncs that failed and were begun again",
            self.reconnects,
        );
    }
}

/// How many changes the source is known to be ahead, where it numbers them.
fn lag(facts: &SourceFacts) -> Option<u64> {
    let cursor: Cursor = facts.head.as_ref()?.cursor.as_ref()?.parse().ok()?;
    Some(facts.sequence_at_source?.saturating_sub(cursor.sequence))
}

fn to_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
