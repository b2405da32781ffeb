//! Fuzzes the writer against the reader: after any sequence of operations, the reader finds the contents of a plain map.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use pushkeys_cache::{Cache, Change, Entry, Stamps, Writer};
use pushkeys_keys::{Fingerprint, Name, SourceName};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step {
    Batch(Vec<(u8, Option<Content>)>),
    Snapshot(Vec<(u8, Content)>),
    Reopen,
}

#[derive(Debug, Arbitrary)]
struct Content {
    holder: u8,
    name: String,
    padding: u8,
}

fn entry(number: u8, content: &Content) -> Entry {
    Entry {
        fingerprint: Fingerprint::of(&[number]),
        logins: vec!["git".parse().unwrap()],
        account: format!("acct_{}", content.holder).parse().unwrap(),
        key_id: format!("key_{number}").parse().unwrap(),
        account_name: Name::parse(&content.name).ok(),
        key_name: Name::parse(&content.name).ok(),
        line: format!("restrict,command=\"/x\" ssh-rsa {}", "A".repeat(usize::from(content.padding) * 20))
            .parse()
            .unwrap(),
    }
}

fn stamps() -> Stamps {
    Stamps { synced_at: jiff::Timestamp::UNIX_EPOCH, valid_until: None }
}

fn take(writer: &mut Writer, model: &BTreeMap<Fingerprint, Entry>) {
    let mut next = writer.begin().unwrap();
    for entry in model.values() {
        next.push(entry.clone()).unwrap();
    }
    writer.commit(next.finish().unwrap(), None, stamps()).unwrap();
}

fuzz_target!(|steps: Vec<Step>| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("cache");
    let api: SourceName = "api".parse().unwrap();
    let mut writer = Writer::open(&path, &api).unwrap();
    let mut model = BTreeMap::new();
    take(&mut writer, &model);
    for step in steps.iter().take(16) {
        match step {
            Step::Reopen => {
                drop(writer);
                writer = Writer::open(&path, &api).unwrap();
            }
            Step::Snapshot(pairs) => {
                model = pairs
                    .iter()
                    .map(|(number, content)| (Fingerprint::of(&[*number]), entry(*number, content)))
                    .collect();
                take(&mut writer, &model);
            }
            Step::Batch(pairs) => {
                let mut changes = Vec::new();
                for (number, content) in pairs {
                    let fingerprint = Fingerprint::of(&[*number]);
                    match content {
                        Some(content) => {
                            model.insert(fingerprint, entry(*number, content));
                            changes.push(Change::Put(entry(*number, content)));
                        }
                        None => {
                            model.remove(&fingerprint);
                            changes.push(Change::Remove(fingerprint));
                        }
                    }
                }
                writer.apply(&changes, Some("e-1"), stamps()).unwrap();
            }
        }
        let cache = Cache::open(&path).unwrap();
        for number in 0..=255 {
            let fingerprint = Fingerprint::of(&[number]);
            let (head, found) = cache.source(&api).unwrap().find(&fingerprint).unwrap();
            assert_eq!(found.as_ref(), model.get(&fingerprint));
            assert_eq!(head.keys, model.len() as u64);
        }
    }
});
