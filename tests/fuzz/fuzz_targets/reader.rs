//! Fuzzes shards and HEAD: the reader returns the key's own entry, or an error.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use pushkeys_cache::{Cache, Entry, Stamps, Writer};
use pushkeys_keys::{Fingerprint, SourceName};
use libfuzzer_sys::fuzz_target;

struct World {
    folder: tempfile::TempDir,
    shard: Vec<u8>,
    head: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = Writer::open(&folder.path().join("cache"), &api()).unwrap();
    let mut entries: Vec<Entry> = (0..8).map(entry).collect();
    entries.sort_by_key(|entry| entry.fingerprint);
    let mut next = writer.begin().unwrap();
    for entry in entries {
        next.push(entry).unwrap();
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    writer.commit(next.finish().unwrap(), Some("e-1"), Stamps { synced_at: now, valid_until: None }).unwrap();
    let shard = std::fs::read(folder.path().join("cache/api/g1/0")).unwrap();
    let head = std::fs::read(folder.path().join("cache/api/HEAD")).unwrap();
    World { folder, shard, head }
});

fn api() -> SourceName {
    "api".parse().unwrap()
}

fn entry(number: u8) -> Entry {
    Entry {
        fingerprint: Fingerprint::of(&[number]),
        logins: vec!["git".parse().unwrap()],
        account: format!("acct_{number}").parse().unwrap(),
        key_id: "key_1".parse().unwrap(),
        account_name: None,
        key_name: None,
        line: format!("restrict,command=\"/x {number}\" ssh-ed25519 AAAA").parse().unwrap(),
    }
}

// The first byte chooses the file, and whether the rest replaces its contents or overwrites them at some offset.
fuzz_target!(|data: &[u8]| {
    let [choice, offset, bytes @ ..] = data else { return };
    let (name, written): (_, &[u8]) =
        if choice & 1 == 0 { ("cache/api/g1/0", &WORLD.shard) } else { ("cache/api/HEAD", &WORLD.head) };
    let path: PathBuf = WORLD.folder.path().join(name);
    let mut content = bytes.to_vec();
    if choice & 2 == 0 {
        content = written.to_vec();
        let start = usize::from(*offset) * content.len() / 256;
        for (byte, change) in content.iter_mut().skip(start).zip(bytes) {
            *byte ^= change;
        }
    }
    std::fs::write(&path, content).unwrap();
    let cache = Cache::open(&WORLD.folder.path().join("cache")).unwrap();
    for number in 0..16 {
        let Ok(source) = cache.source(&api()) else { break };
        if let Ok((_, Some(found))) = source.find(&Fingerprint::of(&[number])) {
            assert_eq!(found, entry(number));
        }
    }
    std::fs::write(&path, written).unwrap();
});
