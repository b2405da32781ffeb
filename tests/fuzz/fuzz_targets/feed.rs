//! Any bytes in place of a snapshot or of the stream of changes: the readers end, and what they let through holds
//! what it promises.

#![no_main]

use pushkeys_feed::{Entry, EventReader, SnapshotLine, SnapshotReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut snapshot = SnapshotReader::default();
    let mut last = None;
    for line in data.split(|&byte| byte == b'\n') {
        match snapshot.line(line) {
            Ok(SnapshotLine::Entry(entry)) => {
                assert!(last.is_none_or(|last| last < entry.fingerprint));
                last = Some(entry.fingerprint);
                assert_eq!(Entry::from_json(&entry.to_json()).unwrap(), entry);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
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
