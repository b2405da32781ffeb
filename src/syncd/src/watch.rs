//! Changes of files, as the kernel reports them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// An editor writes a file in several steps; after this time without one it is done.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest wait for files that go on changing.
const UNSETTLED_MAX: Duration = Duration::from_secs(1);

/// A watch on some files or folders.
///
/// Folders are watched instead of files, because files are replaced by renaming; and their parents too, because the watch
/// on a folder ends when it is removed.
pub(crate) struct Watch {
    changed: Arc<Notify>,
    /// Since when something has been changing.
    unsettled_since: Option<Instant>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches `paths`. What cannot be watched is left out: the caller also reads the files from time to time.
    pub(crate) fn on<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let changed = Arc::new(Notify::new());
        let notified = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_change) {
                notified.notify_one();
            }
        });
        let watcher = match watcher {
            Ok(mut watcher) => {
                for folder in folders(paths) {
                    if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                        tracing::debug!("cannot watch `{}`: {error}", folder.display());
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                tracing::warn!("cannot watch files, so they are only read from time to time: {error}");
                None
            }
        };
        Self { changed, unsettled_since: None, _watcher: watcher }
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

fn folders<'a>(paths: impl IntoIterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            folders.insert(path.to_owned());
        }
        folders.extend(path.parent().map(Path::to_owned));
    }
    folders
}

/// Reading a watched file is an event too, and no change.
fn is_change(event: &Event) -> bool {
    event.need_rescan()
        || match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
            EventKind::Any | EventKind::Other => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

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
