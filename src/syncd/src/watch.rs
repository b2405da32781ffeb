//! Changes of files, as the kernel reports them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use pushkeys_keys::ErrorReport;
use tokio::sync::Notify;

/// An editor writes a file in several steps; after this time without one it is done.
const SETTLE: Duration = Duration::from_millis(50);
/// How often files are read that are watched, and that are not.
const WATCHED_INTERVAL: Duration = Duration::from_mins(1);
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait for files that go on changing.
const UNSETTLED_MAX: Duration = Duration::from_secs(1);

/// A watch on some files or folders.
///
/// Folders are watched instead of files, because files are replaced by renaming; and their parents too, because the watch
/// on a folder ends when it is removed. What else happens in a parent is no change.
pub(crate) struct Watch {
    /// Why some of it is not watched, if that is so.
    error: Option<ErrorReport>,
    changed: Arc<Notify>,
    /// Since when something has been changing.
    unsettled_since: Option<Instant>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches `paths`. What cannot be watched is left out: the caller also reads the files from time to time.
    pub(crate) fn on<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(Path::to_owned).collect();
        let folders = folders(&paths);
        let changed = Arc::new(Notify::new());
        let notified = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, |event| is_change(event, &paths)) {
                notified.notify_one();
            }
        });
        let mut found = None;
        let watcher = match watcher {
            Ok(mut watcher) => {
                // A folder that is not there is reported where it is read.
                for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
                    if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                        found.get_or_insert_with(|| report(&format!("`{}`", folder.display()), &error));
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                found = Some(report("files", &error));
                None
            }
        };
        Self { error: found, changed, unsettled_since: None, _watcher: watcher }
    }

    /// Why some of it is not watched, if that is so.
    pub(crate) fn error(&self) -> Option<&ErrorReport> {
        self.error.as_ref()
    }

    /// How long to wait at most before the files are read again. Notifications can be lost, on network file systems above all.
    pub(crate) fn interval(&self) -> Duration {
        if self.error.is_some() { UNWATCHED_INTERVAL } else { WATCHED_INTERVAL }
    }

    /// Waits until something has changed and come to rest. A wait that is dropped in between misses nothing: the next one
    /// goes on from there.
    pub(crate) async fn changed(&mut self) {
        if self.unsettled_since.is_none() {
            self.changed.notified().await;
        }
        let since = *self.unsettled_since.get_or_insert_with(Instant::now);
        while since.elapsed() < UNSETTLED_MAX {
            if tokio::time::timeout(SETTLE, self.changed.notified()).await.is_err() {
                break;
            }
        }
        self.unsettled_since = None;
    }
}

fn report(what: &str, error: &notify::Error) -> ErrorReport {
    let hint = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "sysctl fs.inotify.max_user_watches=1048576",
        // EMFILE, which says nothing of watches.
        _ => "sysctl fs.inotify.max_user_instances=1024",
    };
    ErrorReport::hinted(&format!("{what} cannot be watched: {error}"), hint)
}

fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            folders.insert(path.clone());
        }
        folders.extend(path.parent().map(Path::to_owned));
    }
    folders
}

/// Reading a watched file is an event too, and no change. Neither is what happens beside the watched `paths`.
fn is_change(event: &Event, paths: &[PathBuf]) -> bool {
    let is_one = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Any | EventKind::Other => false,
    };
    let is_here = || event.paths.is_empty() || event.paths.iter().any(|changed| concerns(changed, paths));
    event.need_rescan() || (is_one && is_here())
}

/// Whether `changed` is one of `paths` or in one of them, or is by its name (`..data`) a link that leads to all files of its
/// folder, as Kubernetes makes them.
fn concerns(changed: &Path, paths: &[PathBuf]) -> bool {
    let is_link_to_all = changed.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    paths
        .iter()
        .any(|path| changed.starts_with(path) || (is_link_to_all && changed.parent() == path.parent()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_watched_is_told_and_read_more_often() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::on([folder.path()]);
        assert_eq!((watch.error(), watch.interval()), (None, WATCHED_INTERVAL));
        let missing = Watch::on([folder.path().join("missing").as_path()]);
        assert_eq!(missing.error(), None, "that a folder is missing is told where it is read");
        // The kernel has one error for too many files and for too many watchers. This process is this test's own.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        let watch = Watch::on([folder.path()]);
        setrlimit(Resource::Nofile, limit).unwrap();
        let error = watch.error().unwrap();
        assert!(error.text().starts_with("files cannot be watched: "), "{error}");
        assert_eq!(error.hint.as_deref(), Some("sysctl fs.inotify.max_user_instances=1024"));
        assert_eq!(watch.interval(), UNWATCHED_INTERVAL);
    }

    #[test]
    fn only_what_is_watched_and_what_is_in_it_concerns() {
        let paths = [PathBuf::from("/etc/keys"), PathBuf::from("/etc/conf/syncd.toml")];
        let check = |changed: &str, expected| {
            assert_eq!(concerns(Path::new(changed), &paths), expected, "{changed}");
        };
        check("/etc/keys", true);
        check("/etc/keys/ana.pub", true);
        check("/etc/keys.log", false);
        check("/etc/syncd.log", false);
        check("/etc/conf/syncd.toml", true);
        check("/etc/conf/syncd.toml.swp", false);
        check("/etc/conf/..data", true);
        check("/etc/conf/other", false);
    }

    #[tokio::test]
    async fn what_happens_beside_a_folder_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let mut watch = Watch::on([keys.as_path()]);
        for number in 0..20 {
            std::fs::write(folder.path().join("syncd.log"), number.to_string()).unwrap();
        }
        let beside = tokio::time::timeout(4 * SETTLE, watch.changed()).await;
        assert!(beside.is_err() && watch.error().is_none());
        std::fs::write(keys.join("ana.pub"), "x").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_change_is_not_missed_when_a_wait_is_dropped_while_it_settles() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::on([folder.path()]);
        std::fs::write(folder.path().join("file"), "x").unwrap();
        // Polled once after the event has come, the wait is settling; then it is dropped.
        while watch.unsettled_since.is_none() {
            let _ = tokio::time::timeout(SETTLE / 10, watch.changed()).await;
        }
        watch.changed().await;
        assert_eq!(watch.unsettled_since, None);
    }
}
