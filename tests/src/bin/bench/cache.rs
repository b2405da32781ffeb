//! A cache of synthetic keys, as syncd would write it.

use std::path::Path;

use jiff::Timestamp;
use pushkeys_cache::{Entry, Stamps, Writer};
use pushkeys_keys::Name;
use pushkeys_tests::SyntheticKey;

/// Accounts have a few keys each.
const KEYS_PER_ACCOUNT: u64 = 4;

/// The account that holds the key number `number`.
pub(crate) fn account(number: u64) -> String {
    format!("acct_{:020}", number / KEYS_PER_ACCOUNT)
}

/// Writes a cache of `keys` in the folder `path`.
pub(crate) fn write(path: &Path, keys: impl Iterator<Item = SyntheticKey>) {
    let mut order: Vec<(SyntheticKey, u64)> = keys.zip(0..).collect();
    order.sort_unstable_by_key(|(key, _)| key.fingerprint);
    let mut writer = Writer::open(path, &"api".parse().expect("a source")).expect("own directory");
    let mut next = writer.begin().expect("a generation");
    for (key, number) in order {
        next.push(entry(&key, number)).expect("in order");
    }
    let prepared = next.finish().expect("room on the disk");
    let stamps = Stamps { synced_at: Timestamp::now(), valid_until: None };
    writer.commit(prepared, Some("bench-1"), stamps).expect("room on the disk");
}

fn entry(SyntheticKey { text, fingerprint }: &SyntheticKey, number: u64) -> Entry {
    let (account, key_id) = (account(number), format!("key_{number:020}"));
    let line = format!(
        "restrict,command=\"/usr/libexec/pushkeys/pushkeys-shell --account {account} --key {key_id} \
         --fingerprint {fingerprint}\" {text}",
    );
    Entry {
        fingerprint: *fingerprint,
        logins: vec!["git".parse().expect("a login")],
        account: account.parse().expect("an id"),
        key_id: key_id.parse().expect("an id"),
        account_name: Name::parse("ana").ok(),
        key_name: Name::parse("laptop").ok(),
        line: line.parse().expect("a line"),
    }
}
