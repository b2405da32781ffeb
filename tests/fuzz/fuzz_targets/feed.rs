//! Fuzzes the readers of snapshots and of the stream of changes: they terminate, and what they accept satisfies its
//! invariants.

#![no_main]

use pushkeys_feed::{Entry, EventReader, SnapshotLine, SnapshotReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut snapshot, mut lines) = (SnapshotReader::default(), Vec::new());
    let is_read = snapshot.push(data, &mut lines).is_ok();
    let mut last = None;
    for line in &lines {
        if let SnapshotLine::Entry(entry) = line {
            assert!(last.is_none_or(|last| last < entry.fingerprint));
            last = Some(entry.fingerprint);
            assert_eq!(Entry::from_json(&entry.to_json()).unwrap(), *entry);
        }
    }
    let (mut snapshot, mut again) = (SnapshotReader::default(), Vec::new());
    assert_eq!(data.chunks(1).all(|byte| snapshot.push(byte, &mut again).is_ok()), is_read);
    assert_eq!(lines.len(), again.len(), "how a snapshot is cut up does not matter");
    let mut whole = Vec::new();
    let mut pieces = Vec::new();
    let _ = EventReader::default().push(data, &mut whole);
    let mut reader = EventReader::default();
    for byte in data.chunks(1) {
        if reader.push(byte, &mut pieces).is_err() {
            break;
        }
    }
    assert_eq!(whole.len(), pieces.len(), "how a stream is cut up does not matter");
});
