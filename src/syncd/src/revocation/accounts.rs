//! The keys of revoked accounts, which are found by reading every line of the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use pushkeys_cache::{Cache, Head, ReadError};
use pushkeys_keys::{Fingerprint, SourceName};

/// The cache is read only when it has changed, and no more often than this, nor for more than one part in
/// [`SCAN_SHARE`] of a processor's time.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
const SCAN_SHARE: u32 = 20;

/// The keys of some accounts, as far as they were asked for.
#[derive(Debug, Default)]
pub(super) struct AccountKeys(Option<Scan>);

#[derive(Debug)]
struct Scan {
    /// What was in force.
    heads: Vec<(SourceName, Head)>,
    keys: BTreeMap<String, Vec<Fingerprint>>,
    ended_at: Instant,
    took: Duration,
}

impl AccountKeys {
    /// Finds the keys of `accounts` in the cache in `folder`. Returns whether they are the keys in force now: the cache is
    /// not read again right after the last time.
    pub(super) fn find(&mut self, folder: &Path, accounts: BTreeSet<String>) -> Result<bool, ReadError> {
        if accounts.is_empty() {
            self.0 = None;
            return Ok(true);
        }
        let cache = Cache::open(folder)?;
        let heads = heads(&cache)?;
        if let Some(scan) = self.0.as_ref().filter(|scan| scan.keys.keys().eq(&accounts)) {
            let is_current = is_same_state(&scan.heads, &heads);
            let pause = SCAN_INTERVAL.max(scan.took * SCAN_SHARE);
            if is_current || scan.ended_at.elapsed() < pause {
                return Ok(is_current);
            }
        }
        self.0 = Some(Scan::of(&cache, heads, accounts)?);
        Ok(true)
    }

    /// The keys of `account` that were found.
    pub(super) fn of(&self, account: &str) -> &[Fingerprint] {
        self.0.as_ref().and_then(|scan| scan.keys.get(account)).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Scan {
    fn of(
        cache: &Cache,
        heads: Vec<(SourceName, Head)>,
        accounts: BTreeSet<String>,
    ) -> Result<Self, ReadError> {
        let start = Instant::now();
        let mut keys = accounts.into_iter().map(|account| (account, Vec::new())).collect();
        let mut buffer = Vec::new();
        for (name, _) in &heads {
            let source = cache.source(name)?;
            (0..source.shard_count())
                .try_for_each(|index| source.keys_of_accounts(index, &mut buffer, &mut keys))?;
        }
        Ok(Self { heads, keys, ended_at: Instant::now(), took: start.elapsed() })
    }
}

fn heads(cache: &Cache) -> Result<Vec<(SourceName, Head)>, ReadError> {
    let names = cache.sources()?.into_iter();
    names.map(|name| cache.source(&name).map(|source| (name, source.head().clone()))).collect()
}

/// Whether the same keys are in force by both. HEAD's times alone mean nothing.
fn is_same_state(before: &[(SourceName, Head)], now: &[(SourceName, Head)]) -> bool {
    let state = |(name, head): &(SourceName, Head)| {
        // Without a cursor, nothing tells two states apart.
        head.cursor.clone().map(|cursor| (name.clone(), head.generation, cursor))
    };
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| state(before).is_some() && state(before) == state(now))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pushkeys_cache::{Change, Entry, Stamps, Writer};

    use super::*;

    #[test]
    fn the_cache_is_read_when_it_has_changed_and_not_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut writer = Writer::open(&path, &"api".parse().unwrap()).unwrap();
        let stamps = Stamps { synced_at: Timestamp::UNIX_EPOCH, valid_until: None };
        let mut next = writer.begin().unwrap();
        next.push(entry(1)).unwrap();
        writer.commit(next.finish().unwrap(), Some("e-1"), stamps).unwrap();
        let mut keys = AccountKeys::default();
        let find = |keys: &mut AccountKeys| {
            let is_current = keys.find(&path, BTreeSet::from(["acct_7".to_owned()])).unwrap();
            (is_current, keys.of("acct_7").len())
        };
        assert_eq!(find(&mut keys), (true, 1));
        assert_eq!(find(&mut keys), (true, 1));
        writer.apply(&[Change::Put(entry(2))], Some("e-2"), stamps).unwrap();
        assert_eq!(find(&mut keys), (false, 1), "it was read a moment ago");
        keys.0.as_mut().unwrap().ended_at -= SCAN_INTERVAL;
        assert_eq!(find(&mut keys), (true, 2));
    }

    fn entry(number: u8) -> Entry {
        Entry {
            fingerprint: Fingerprint::of(&[number]),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: format!("key_{number}").parse().unwrap(),
            account_name: None,
            key_name: None,
            line: "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap(),
        }
    }
}
