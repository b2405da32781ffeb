//! What Prometheus is told. Everything is made from the board when somebody asks; labels are names of the configuration.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use pushkeys_cache::status::{SourceStatus, State};

use crate::status::store::{Board, Counts};

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
pub(crate) fn text(board: &Board) -> String {
    let (status, counts) = (board.snapshot(), board.counts());
    let mut registry = Registry::with_prefix("pushkeys_syncd");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version of the daemon", version);
    let conflicts: Gauge = Gauge::default();
    conflicts.set(to_gauge(status.conflicts_count));
    registry.register(
        "conflicts",
        "Keys that two sources give to different accounts, and that are refused",
        conflicts,
    );
    let refused: Gauge = Gauge::default();
    refused.set(i64::from(status.config_error.is_some()));
    registry.register(
        "config_refused",
        "1 while the newest configuration is refused and the one before in force",
        refused,
    );
    let numbers = Numbers::default();
    for source in &status.sources {
        numbers.add(source, counts.get(&source.name).copied().unwrap_or_default());
    }
    numbers.register(registry.sub_registry_with_prefix("source"));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

impl Numbers {
    fn add(&self, status: &SourceStatus, counts: Counts) {
        let source = || OfSource { source: status.name.clone() };
        self.keys.get_or_create(&source()).set(to_gauge(status.keys));
        if let Some(lag) = lag(status) {
            self.lag.get_or_create(&source()).set(to_gauge(lag));
        }
        for (family, time) in [(&self.synced, &status.synced_at), (&self.valid_until, &status.valid_until)] {
            if let Some(time) = time.as_ref().and_then(|time| time.parse::<Timestamp>().ok()) {
                family.get_or_create(&source()).set(time.as_second());
            }
        }
        self.held.get_or_create(&source()).set(i64::from(status.held.is_some()));
        self.skipped.get_or_create(&source()).set(to_gauge(status.skipped.count));
        for state in State::ALL {
            let labels = InState { source: status.name.clone(), state: state.as_str() };
            self.state.get_or_create(&labels).set(i64::from(state == status.state));
        }
        self.changes.get_or_create(&source()).inc_by(counts.changes);
        self.reconnects.get_or_create(&source()).inc_by(counts.failures);
    }

    fn register(self, registry: &mut Registry) {
        registry.register("keys", "Keys in force", self.keys);
        registry.register("lag", "Changes that the source is known to be ahead", self.lag);
        registry.register(
            "synced_timestamp_seconds",
            "When the cache was last in step with its source",
            self.synced,
        );
        registry.register(
            "valid_until_timestamp_seconds",
            "Until when look-ups are answered; absent for ever, or while nothing is in force",
            self.valid_until,
        );
        registry.register("held", "1 while a snapshot waits for a person's word", self.held);
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
fn lag(status: &SourceStatus) -> Option<u64> {
    let sequence: u64 = status.cursor.as_deref()?.rsplit_once('-')?.1.parse().ok()?;
    Some(status.sequence_at_source?.saturating_sub(sequence))
}

fn to_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
