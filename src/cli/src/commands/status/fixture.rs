//! The overview of a host on which nothing is wrong.

use pushkeys_cache::status::{Skipped, SourceStatus, State, Status};
use pushkeys_cache::{Head, Stamps};

use super::outside::{Process, Room};
use super::overview::{Overview, SourceView};

pub(super) const NOW: &str = "2026-11-23T16:55:00Z";

const STARTED_AT: &str = "2026-11-23T16:00:00Z";
const SYNCED_AT: &str = "2026-11-23T16:54:57Z";

pub(super) fn overview() -> Overview {
    let status = Status {
        pid: 7,
        version: "0.1.0".into(),
        started_at: STARTED_AT.into(),
        written_at: "2026-11-23T16:54:59Z".into(),
        config: "/etc/pushkeys/syncd.toml".into(),
        config_error: None,
        watch_error: None,
        sources: vec![source_status()],
        conflicts_count: 0,
        conflicts: Vec::new(),
        reports: Vec::new(),
    };
    let source = SourceView {
        name: "api".parse().unwrap(),
        head: Ok(head()),
        held: Ok(None),
        written: Ok(true),
        status: Some(source_status()),
    };
    Overview {
        now: NOW.parse().unwrap(),
        folder: "/var/lib/pushkeys/cache".into(),
        sources: vec![source],
        revocations: Ok(pushkeys_cache::Revocations::default()),
        syncd: Ok(status),
        process: Process::Runs,
        room: Ok(Room { bytes: 1 << 30, files: Some(1000) }),
        strangers: Vec::new(),
        lookups: Some(Ok(None)),
    }
}

fn head() -> Head {
    Head {
        generation: 7,
        bits: 12,
        keys: 1_000_000,
        cursor: Some("b1946ac9-4711".into()),
        stamps: Stamps {
            synced_at: SYNCED_AT.parse().unwrap(),
            valid_until: Some("2026-11-24T16:54:57Z".parse().unwrap()),
        },
        notes: None,
    }
}

fn source_status() -> SourceStatus {
    SourceStatus {
        name: "api".into(),
        kind: "feed".into(),
        state: State::InStep,
        since: STARTED_AT.into(),
        keys: 1_000_000,
        generation: Some(7),
        cursor: Some("b1946ac9-4711".into()),
        sequence_at_source: Some(4713),
        synced_at: Some(SYNCED_AT.into()),
        refresh_interval_s: Some(80),
        valid_until: Some("2026-11-24T16:54:57Z".into()),
        last_change_at: Some("2026-11-23T16:52:00Z".into()),
        last_change: Some("SHA256:x is key_42 of acct_7".into()),
        last_error: None,
        skipped: Skipped::default(),
        held: None,
        host_keys: None,
    }
}
