//! The sources that run, and what is shared between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pushkeys_cache::{Cache, Writer};
use pushkeys_keys::{ErrorReport, SourceName};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::config::{SourceKind, SourceSettings};
use crate::report::host_keys::HostKeyFiles;
use crate::report::reporter::Reporter;
use crate::report::usage::Usage;
use crate::revocation::answers::RevocationAnswers;
use crate::source;
use crate::source::task::SourceTask;
use crate::status::conflicts::{ConflictWatch, Touched};
use crate::status::store::StatusStore;

/// How long a stop waits for the batch at hand.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Files of credentials are compared by this much of them.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(super) struct Sources {
    /// The folder of the cache.
    folder: PathBuf,
    status: Arc<StatusStore>,
    conflicts: Arc<ConflictWatch>,
    answers: Arc<RevocationAnswers>,
    usage: Arc<Usage>,
    host_keys: Arc<HostKeyFiles>,
    running: BTreeMap<SourceName, Running>,
    /// The files that sources name, and a digest of what was in them.
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
}

struct Running {
    source: Arc<SourceTask>,
    task: JoinHandle<()>,
    /// Tells a key service what it is to know of this host.
    reporter: Option<JoinHandle<()>>,
}

impl Sources {
    /// Begins without any. Uses of keys are listened to from now on.
    pub(super) fn new(
        folder: &Path,
        status: Arc<StatusStore>,
        conflicts: Arc<ConflictWatch>,
        answers: Arc<RevocationAnswers>,
        host_keys: Arc<HostKeyFiles>,
    ) -> Self {
        let usage = Arc::new(Usage::new(folder));
        usage.listen();
        let (running, files) = (BTreeMap::new(), BTreeMap::new());
        Self { folder: folder.to_owned(), status, conflicts, answers, usage, host_keys, running, files }
    }

    /// Makes the running sources those of `wanted`. A source whose settings are the same goes on undisturbed.
    pub(super) async fn adopt(&mut self, wanted: &[SourceSettings]) {
        let unchanged: BTreeSet<SourceName> = wanted
            .iter()
            .filter(|settings| {
                self.running.get(&settings.name).is_some_and(|running| running.source.settings == **settings)
            })
            .map(|settings| settings.name.clone())
            .collect();
        let names: Vec<SourceName> = self.running.keys().cloned().collect();
        for name in names.iter().filter(|name| !unchanged.contains(*name)) {
            self.stop_source(name).await;
            if !wanted.iter().any(|settings| settings.name == *name) {
                self.remove(name);
            }
        }
        for settings in wanted.iter().filter(|settings| !unchanged.contains(&settings.name)) {
            self.start(settings.clone());
        }
    }

    /// Makes the sources of the cache those of `wanted`: removes what was taken out of the configuration while no daemon ran,
    /// and names the others as those that count.
    pub(super) fn name(&self, wanted: &[SourceSettings]) {
        self.remove_orphans(wanted);
        let names: Vec<SourceName> = wanted.iter().map(|settings| settings.name.clone()).collect();
        if let Err(error) = pushkeys_cache::set_sources(&self.folder, &names) {
            tracing::error!("the sources of the cache cannot be named: {}", ErrorReport::of(&error));
        }
    }

    fn remove_orphans(&self, wanted: &[SourceSettings]) {
        let Ok(cache) = Cache::open(&self.folder) else { return };
        for name in cache.sources().unwrap_or_default() {
            let path = self.folder.join(name.as_str());
            let is_wanted = wanted.iter().any(|settings| settings.name == name);
            // A folder that no writer has made is left alone, whatever its name.
            if !is_wanted && path.join("HEAD").is_file() && path.join("LOCK").is_file() {
                self.remove(&name);
            }
        }
    }

    /// Wakes the sources whose files have changed, or all of them: that may be what they wait for. Those that are connected
    /// show the new credentials.
    pub(super) fn wake(&mut self, all: bool) {
        let digests = self.digests();
        let before = std::mem::replace(&mut self.files, digests);
        for Running { source, .. } in self.running.values() {
            let files = source.settings.files();
            // The files of a source that was just started are not known from before.
            let is_changed = files
                .iter()
                .any(|file| before.get(*file).is_some_and(|digest| self.files.get(*file) != Some(digest)));
            if is_changed {
                source.credentials_changed();
            }
            if all || is_changed {
                source.wake();
            }
        }
    }

    /// The files besides the configuration that sources depend on.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.running.values().flat_map(|running| running.source.settings.files())
    }

    /// Whether keys of every source are in force, or a first attempt has failed.
    pub(super) fn are_settled(&self) -> bool {
        self.running.values().all(|running| running.source.is_settled())
    }

    /// The longest time for which an applier has been busy without a sign of life.
    pub(super) fn stuck_for(&self) -> Duration {
        self.running.values().map(|running| running.source.cache.stuck_for()).max().unwrap_or_default()
    }

    /// Stops every source after the batch at hand.
    pub(super) async fn stop(&mut self) {
        let names: Vec<SourceName> = self.running.keys().cloned().collect();
        for name in names {
            self.stop_source(&name).await;
        }
    }

    fn start(&mut self, settings: SourceSettings) {
        let name = settings.name.clone();
        tracing::info!(source = %name, kind = settings.kind_name(), "`{name}`: source started");
        let status = self.status.add(&settings);
        let reporter = match &settings.kind {
            SourceKind::Feed(remote) => {
                self.answers.add_service(&name);
                let reporter = Reporter::new(
                    name.clone(),
                    remote.clone(),
                    self.folder.clone(),
                    Arc::clone(&self.usage),
                    Arc::clone(&self.answers),
                    Arc::clone(&self.host_keys),
                    status.clone(),
                );
                Some(tokio::spawn(reporter.run()))
            }
            SourceKind::Poll { .. } | SourceKind::Directory { .. } => {
                self.answers.remove_service(&name);
                None
            }
        };
        let source = SourceTask::new(settings, self.folder.clone(), status, Arc::clone(&self.conflicts));
        let source = Arc::new(source);
        let task = tokio::spawn(source::run::run(Arc::clone(&source)));
        self.running.insert(name, Running { source, task, reporter });
    }

    async fn stop_source(&mut self, name: &SourceName) {
        let Some(Running { source, task, reporter }) = self.running.remove(name) else { return };
        task.abort();
        if let Some(reporter) = reporter {
            reporter.abort();
            let _ = reporter.await;
            self.usage.save(name);
        }
        // The result of a task that was aborted says only that.
        let _ = task.await;
        if tokio::time::timeout(STOP_MAX, source.cache.lock_writer()).await.is_err() {
            tracing::error!(source = %name, "`{name}`: the writer of the cache did not stop within {} s", STOP_MAX.as_secs());
        }
        tracing::info!(source = %name, "`{name}`: source stopped");
    }

    /// Removes the keys of a source that is no longer in the configuration: nobody is to log in by it any more.
    fn remove(&self, name: &SourceName) {
        self.status.remove(name);
        self.answers.remove_service(name);
        match Writer::open(&self.folder, name).and_then(Writer::remove_source) {
            Ok(()) => {
                tracing::warn!(source = %name, "`{name}`: no longer in the configuration: its keys are removed from the cache");
            }
            Err(error) => {
                tracing::error!(source = %name, "`{name}`: its keys cannot be removed from the cache: {}", ErrorReport::of(&error));
            }
        }
        self.conflicts.touched(name, Touched::All);
    }

    fn digests(&self) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
        self.files().map(|file| (file.to_owned(), digest(file))).collect()
    }
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}
