//! Which keys are used: what forced commands say, until it is reported to the key services.
//!
//! The forced command runs as the login that clients reach, so what it says counts only where the cache agrees, the time is
//! this daemon's, and everything is bounded. A use may be lost: the next one says the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::{Cache, USAGE_SOCKET, USED_BYTES_MAX, Used};
use pushkeys_feed::{REPORT_ITEMS_MAX, UsageReport, Use};
use pushkeys_files::{Attributes, Trust};
use pushkeys_keys::{ErrorReport, Fingerprint, SourceName, UseKind};

use crate::socket;

/// How many uses wait for one key service at most.
const WAITING_MAX: usize = 20_000;
/// How long to wait before a socket that could not be opened, or failed, is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// Waiting uses are kept in a file with this and the source's name, which no source can have.
const FILE_PREFIX: &str = "USAGE.";
const FILE_MODE: u32 = 0o600;
/// A use in JSON has less than 320 bytes.
const FILE_BYTES_MAX: usize = WAITING_MAX * 320;

/// Of several uses of one kind the last is enough.
type Waiting = BTreeMap<(Fingerprint, UseKind), Use>;

/// The uses that are not reported yet.
#[derive(Debug)]
pub(crate) struct Usage {
    cache: PathBuf,
    waiting: Mutex<BTreeMap<SourceName, Waiting>>,
}

impl Usage {
    pub(crate) fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), waiting: Mutex::default() }
    }

    /// Listens to forced commands, in a thread of its own, until the process ends.
    pub(crate) fn listen(self: &Arc<Self>) {
        let usage = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("usage".to_owned()).spawn(move || usage.serve());
        if let Err(error) = spawned {
            tracing::warn!("uses of keys are not reported: cannot start a thread: {error}");
        }
    }

    fn serve(&self) {
        let path = self.cache.join(USAGE_SOCKET);
        // One byte more than is accepted, so that a longer datagram is refused and not cut.
        let mut buffer = [0; USED_BYTES_MAX + 1];
        socket::receive(&path, "uses of keys are not reported", OPEN_AGAIN, &mut buffer, |datagram| {
            self.take(datagram);
        });
    }

    fn take(&self, datagram: &[u8]) {
        let Ok(used) = Used::parse(datagram) else {
            tracing::debug!("a datagram of {} bytes is no use of a key", datagram.len());
            return;
        };
        let now = Timestamp::now();
        if self.has_since(&used, now) {
            return;
        }
        if let Some(source) = self.source_of(&used) {
            let Used { fingerprint, key_id, kind, .. } = used;
            let mut waiting = self.lock();
            put(waiting.entry(source).or_default(), Use { fingerprint, key_id, kind, at: now });
        }
    }

    /// Whether the same has come in this second: a flood of it costs no lookup.
    fn has_since(&self, used: &Used, now: Timestamp) -> bool {
        self.lock().values().any(|waiting| {
            waiting
                .get(&(used.fingerprint, used.kind))
                .is_some_and(|last| last.key_id == used.key_id && last.at.as_second() == now.as_second())
        })
    }

    /// The source that has the key as `used` says.
    fn source_of(&self, used: &Used) -> Option<SourceName> {
        let consultation =
            Cache::open(&self.cache).and_then(|cache| cache.consult(&used.fingerprint)).ok()?;
        consultation.sources.into_iter().find_map(|one| {
            let (_, entry) = one.found.ok()?;
            let entry = entry?;
            (entry.account == used.account && entry.key_id == used.key_id).then_some(one.source)
        })
    }

    /// Takes out a report to `source`. One that fails is to be given back.
    pub(crate) fn take_some(&self, source: &SourceName) -> UsageReport {
        let mut waiting = self.lock();
        let Some(waiting) = waiting.get_mut(source) else { return UsageReport::default() };
        let keys: Vec<_> = waiting.keys().take(REPORT_ITEMS_MAX).copied().collect();
        UsageReport { uses: keys.iter().filter_map(|key| waiting.remove(key)).collect() }
    }

    /// Keeps `report`, which could not be made to `source`.
    pub(crate) fn give_back(&self, source: &SourceName, report: UsageReport) {
        let mut waiting = self.lock();
        let waiting = waiting.entry(source.clone()).or_default();
        report.uses.into_iter().for_each(|one| put(waiting, one));
    }

    /// Takes over what an earlier daemon left for `source`. Returns whether its file is there, for [`Usage::save`] to remove.
    pub(crate) fn load(&self, source: &SourceName) -> bool {
        let path = self.file(source);
        let bytes = match pushkeys_files::read(&path, Trust::ROOT_OR_SELF, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return false,
            Err(error) => {
                tracing::warn!("uses of keys are ignored: {}", ErrorReport::of(&error));
                return true;
            }
        };
        match serde_json::from_slice::<UsageReport>(&bytes) {
            Ok(report) => self.give_back(source, report),
            Err(error) => tracing::warn!("`{}` is ignored: {}", path.display(), ErrorReport::of(&error)),
        }
        true
    }

    /// Writes what waits for `source` to a file, or removes the file when nothing waits.
    pub(crate) fn save(&self, source: &SourceName) {
        let path = self.file(source);
        let uses: Vec<Use> =
            self.lock().get(source).map(|waiting| waiting.values().cloned().collect()).unwrap_or_default();
        if uses.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("cannot remove `{}`: {error}", path.display());
                }
                _ => {}
            }
            return;
        }
        // Texts and numbers always have a JSON form.
        let json = serde_json::to_vec(&UsageReport { uses }).unwrap_or_default();
        if let Err(error) = pushkeys_files::replace(&path, &json, Attributes::mode(FILE_MODE)) {
            tracing::warn!("uses of keys are not kept: {}", ErrorReport::of(&error));
        }
    }

    fn file(&self, source: &SourceName) -> PathBuf {
        self.cache.join(format!("{FILE_PREFIX}{source}"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SourceName, Waiting>> {
        // Each step on the table leaves it valid.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(waiting: &mut Waiting, one: Use) {
    let key = (one.fingerprint, one.kind);
    let is_newer = waiting.get(&key).is_none_or(|last| last.at < one.at);
    let has_room = waiting.len() < WAITING_MAX || waiting.contains_key(&key);
    if is_newer && has_room {
        waiting.insert(key, one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(number: u32, kind: UseKind, at: i64) -> Use {
        let fingerprint = Fingerprint::of(&number.to_be_bytes());
        Use { fingerprint, key_id: "key_1".parse().unwrap(), kind, at: Timestamp::from_second(at).unwrap() }
    }

    #[test]
    fn only_the_last_use_of_a_kind_waits() {
        let folder = tempfile::tempdir().unwrap();
        let (usage, source) = (Usage::new(folder.path()), "api".parse().unwrap());
        let given = vec![
            used(1, UseKind::Push, 2),
            used(1, UseKind::Push, 1),
            used(1, UseKind::Check, 1),
            used(1, UseKind::Check, 3),
        ];
        usage.give_back(&source, UsageReport { uses: given });
        let expected = vec![used(1, UseKind::Check, 3), used(1, UseKind::Push, 2)];
        assert_eq!(usage.take_some(&source).uses, expected);
        assert_eq!(usage.take_some(&source), UsageReport::default());
    }

    #[test]
    fn waiting_uses_are_bounded_and_reported_in_bounded_parts() {
        let folder = tempfile::tempdir().unwrap();
        let (usage, source) = (Usage::new(folder.path()), "api".parse().unwrap());
        let uses =
            (0..u32::try_from(WAITING_MAX).unwrap() + 10).map(|number| used(number, UseKind::Fetch, 1));
        usage.give_back(&source, UsageReport { uses: uses.collect() });
        let mut reported = 0;
        loop {
            let report = usage.take_some(&source);
            if report.uses.is_empty() {
                break;
            }
            assert!(report.uses.len() <= REPORT_ITEMS_MAX);
            reported += report.uses.len();
        }
        assert_eq!(reported, WAITING_MAX);
    }

    #[test]
    fn waiting_uses_outlast_a_restart_and_no_file_stays_when_all_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (usage, source) = (Usage::new(folder.path()), "api".parse().unwrap());
        let report = UsageReport { uses: vec![used(1, UseKind::Push, 1)] };
        usage.give_back(&source, report.clone());
        usage.save(&source);
        let restarted = Usage::new(folder.path());
        assert!(restarted.load(&source));
        assert_eq!(restarted.take_some(&source), report);
        restarted.save(&source);
        assert!(!folder.path().join("USAGE.api").exists() && !restarted.load(&source));
        fs::write(folder.path().join("USAGE.api"), "{").unwrap();
        assert!(restarted.load(&source));
        assert_eq!(restarted.take_some(&source), UsageReport::default());
    }
}
