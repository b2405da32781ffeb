//! Which keys are used: what forced commands say, until the key services have been told.
//!
//! The forced command runs on the client's side of the door, so what it says counts only where the cache agrees, the
//! time is this daemon's, and everything is bounded. Losing a use is nothing: the next one says the same.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::{Cache, USAGE_SOCKET, USED_BYTES_MAX, Used};
use pushkeys_feed::{REPORT_ITEMS_MAX, UsageReport, Use};
use pushkeys_keys::{ErrorReport, Fingerprint, SourceName, UseKind};

/// So many uses wait for one key service at most: an outage outlasts what is worth knowing about it.
const WAITING_MAX: usize = 20_000;
/// Who may write to the socket is the cache's group: the login behind whose door the forced command runs.
const SOCKET_MODE: u32 = 0o660;
/// How long to wait before a socket that could not be opened, or failed, is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// What waits is kept in a file with this name and the source's, which no source can have.
const FILE_PREFIX: &str = "USAGE.";
const FILE_MODE: u32 = 0o600;
/// A use in JSON has less than 320 bytes.
const FILE_BYTES_MAX: u64 = WAITING_MAX as u64 * 320;

/// Of several uses of one kind the last is enough.
type Waiting = BTreeMap<(Fingerprint, UseKind), Use>;

/// What is known of uses and no key service has been told yet.
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
        let mut has_said = false;
        loop {
            let error = match open(&path) {
                Ok(socket) => self.receive(&socket),
                Err(error) => error,
            };
            // The first source to be opened makes the folder.
            if !has_said && error.kind() != io::ErrorKind::NotFound {
                has_said = true;
                tracing::warn!(
                    "uses of keys are not reported: cannot listen at `{}`: {error}",
                    path.display()
                );
            }
            std::thread::sleep(OPEN_AGAIN);
        }
    }

    /// Takes what comes until the socket fails.
    fn receive(&self, socket: &UnixDatagram) -> io::Error {
        // One byte more than is accepted, so that what is too long is refused as such.
        let mut buffer = [0; USED_BYTES_MAX + 1];
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
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

    /// Whether the same was said in this second: a flood of it costs no look-up.
    fn has_since(&self, used: &Used, now: Timestamp) -> bool {
        self.lock().values().any(|waiting| {
            waiting
                .get(&(used.fingerprint, used.kind))
                .is_some_and(|last| last.key_id == used.key_id && last.at.as_second() == now.as_second())
        })
    }

    /// The source that has the key as it is said to be.
    fn source_of(&self, used: &Used) -> Option<SourceName> {
        let consultation =
            Cache::open(&self.cache).and_then(|cache| cache.consult(&used.fingerprint)).ok()?;
        consultation.sources.into_iter().find_map(|one| {
            let (_, entry) = one.found.ok()?;
            let entry = entry?;
            (entry.account == used.account && entry.key_id == used.key_id).then_some(one.source)
        })
    }

    /// Some of what `source` has not been told yet. Nobody else has it until it is given back or forgotten.
    pub(crate) fn some_of(&self, source: &SourceName) -> UsageReport {
        let mut waiting = self.lock();
        let Some(waiting) = waiting.get_mut(source) else { return UsageReport::default() };
        let keys: Vec<_> = waiting.keys().take(REPORT_ITEMS_MAX).copied().collect();
        UsageReport { uses: keys.iter().filter_map(|key| waiting.remove(key)).collect() }
    }

    /// `source` could not be told of `report`.
    pub(crate) fn give_back(&self, source: &SourceName, report: UsageReport) {
        let mut waiting = self.lock();
        let waiting = waiting.entry(source.clone()).or_default();
        report.uses.into_iter().for_each(|one| put(waiting, one));
    }

    /// Takes up what an earlier daemon left of `source`. Says whether its file is there, for [`Usage::save`] to remove.
    pub(crate) fn load(&self, source: &SourceName) -> bool {
        let path = self.file(source);
        let Ok(metadata) = fs::metadata(&path) else { return false };
        let is_short = metadata.len() <= FILE_BYTES_MAX;
        let bytes = is_short.then(|| fs::read(&path).ok()).flatten().unwrap_or_default();
        match serde_json::from_slice::<UsageReport>(&bytes) {
            Ok(report) => self.give_back(source, report),
            Err(error) => tracing::warn!("`{}` is passed over: {}", path.display(), ErrorReport::of(&error)),
        }
        true
    }

    /// Writes what `source` has not been told to a file, or removes the file when it was told everything.
    ///
    /// A restart finds it; a power cut may not.
    pub(crate) fn save(&self, source: &SourceName) {
        let path = self.file(source);
        let uses: Vec<Use> =
            self.lock().get(source).map(|waiting| waiting.values().cloned().collect()).unwrap_or_default();
        let saved = if uses.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            replace(&path, &UsageReport { uses })
        };
        if let Err(error) = saved {
            tracing::warn!("cannot keep uses of keys in `{}`: {error}", path.display());
        }
    }

    fn file(&self, source: &SourceName) -> PathBuf {
        self.cache.join(format!("{FILE_PREFIX}{source}"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SourceName, Waiting>> {
        // Every state of the table is a right one.
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

fn open(path: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}

fn replace(path: &Path, report: &UsageReport) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    fs::write(&next, serde_json::to_vec(report)?)?;
    fs::set_permissions(&next, Permissions::from_mode(FILE_MODE))?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(number: u32, kind: UseKind, at: i64) -> Use {
        let fingerprint = Fingerprint::of(&number.to_be_bytes());
        Use { fingerprint, key_id: "key_1".parse().unwrap(), kind, at: Timestamp::from_second(at).unwrap() }
    }

    #[test]
    fn the_last_use_of_a_kind_is_what_waits() {
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
        assert_eq!(usage.some_of(&source).uses, expected);
        assert_eq!(usage.some_of(&source), UsageReport::default());
    }

    #[test]
    fn what_waits_is_bounded_and_comes_in_reports_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let (usage, source) = (Usage::new(folder.path()), "api".parse().unwrap());
        let uses =
            (0..u32::try_from(WAITING_MAX).unwrap() + 10).map(|number| used(number, UseKind::Fetch, 1));
        usage.give_back(&source, UsageReport { uses: uses.collect() });
        let mut told = 0;
        loop {
            let report = usage.some_of(&source);
            if report.uses.is_empty() {
                break;
            }
            assert!(report.uses.len() <= REPORT_ITEMS_MAX);
            told += report.uses.len();
        }
        assert_eq!(told, WAITING_MAX);
    }

    #[test]
    fn what_waits_survives_a_restart_and_nothing_is_left_when_all_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (usage, source) = (Usage::new(folder.path()), "api".parse().unwrap());
        let report = UsageReport { uses: vec![used(1, UseKind::Push, 1)] };
        usage.give_back(&source, report.clone());
        usage.save(&source);
        let restarted = Usage::new(folder.path());
        assert!(restarted.load(&source));
        assert_eq!(restarted.some_of(&source), report);
        restarted.save(&source);
        assert!(!folder.path().join("USAGE.api").exists() && !restarted.load(&source));
        fs::write(folder.path().join("USAGE.api"), "{").unwrap();
        assert!(restarted.load(&source));
        assert_eq!(restarted.some_of(&source), UsageReport::default());
    }
}
