//! The daemon: starts and stops sources as the configuration says, and tells systemd how it is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pushkeys_cache::Writer;
use pushkeys_cache::status::State;
use pushkeys_keys::{ErrorReport, SourceName};
use sd_notify::NotifyState;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::{Config, Kind, Settings};
use crate::report::reporter;
use crate::report::usage::Usage;
use crate::revocation::keeper;
use crate::source::{self, Context};
use crate::status::conflicts::{ConflictWatch, Touched};
use crate::status::metrics;
use crate::status::store::Board;
use crate::watch::Watch;

/// How often readiness, the watchdog and the status line are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Notifications can be lost, so files are looked at this often anyway.
const FILES_INTERVAL: Duration = Duration::from_mins(1);
/// An applier that gives no sign of life for so long hangs in a system call: restarting may help, waiting did not.
const STUCK_MAX: Duration = Duration::from_mins(5);
/// The unit is ordered before sshd, which must not wait for a first sync that takes long, or for a service that is slow.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a stop waits for the batch at hand.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Files of credentials are compared by this much of them.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(path: &Path, config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = tokio::time::interval(FILES_INTERVAL);
    let mut daemon = Daemon::start(path, config).await;
    let mut watch = daemon.watch();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                daemon.reload(true).await;
                watch = daemon.watch();
            }
            () = watch.changed() => {
                // Watching begins anew before the look, so that no change falls between the two.
                watch = daemon.watch();
                if daemon.reload(false).await {
                    watch = daemon.watch();
                }
            }
            _ = looks.tick() => {
                watch = daemon.watch();
                if daemon.reload(false).await {
                    watch = daemon.watch();
                }
            }
            _ = ticks.tick() => daemon.tick(),
        }
    }
    daemon.stop().await;
    Ok(())
}

/// Logins matter more than numbers, so an address that cannot be had is told, and the daemon goes on.
async fn serve_metrics(address: &pushkeys_metrics::Address, board: &Arc<Board>) {
    match pushkeys_metrics::Listener::bind(address).await {
        Ok(listener) => {
            tracing::info!("metrics are at {}", listener.address().unwrap_or_default());
            let board = Arc::clone(board);
            tokio::spawn(listener.serve(move || {
                let text = metrics::text(&board);
                async move { text }
            }));
        }
        Err(error) => tracing::error!("cannot serve metrics at `{address}`: {error}"),
    }
}

struct Daemon {
    path: PathBuf,
    config: Config,
    board: Arc<Board>,
    conflicts: Arc<ConflictWatch>,
    usage: Arc<Usage>,
    /// Where sshd's `RevokedKeys` points, if that is configured.
    revoked_keys_file: watch::Sender<Option<PathBuf>>,
    running: BTreeMap<SourceName, Running>,
    /// The files that sources name, and what was in them.
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
    config_error: Option<String>,
    is_ready: bool,
    unready_since: Instant,
    status_line: String,
}

struct Running {
    context: Arc<Context>,
    task: JoinHandle<()>,
    /// Tells a key service what it is to know of this host.
    reporter: Option<JoinHandle<()>>,
}

impl Daemon {
    async fn start(path: &Path, config: Config) -> Self {
        let board = Arc::new(Board::new(&config.cache, path));
        let conflicts = Arc::new(ConflictWatch::default());
        let publisher = Arc::clone(&board);
        tokio::spawn(async move { publisher.publish().await });
        let folder: Arc<Path> = config.cache.as_path().into();
        tokio::spawn(Arc::clone(&conflicts).run(folder, Arc::clone(&board)));
        if let Some(address) = &config.metrics {
            serve_metrics(address, &board).await;
        }
        let usage = Arc::new(Usage::new(&config.cache));
        let (revoked_keys_file, file) = watch::channel(config.revoked_keys_file.clone());
        tokio::spawn(keeper::run(config.cache.clone(), Arc::clone(&board), file));
        let empty = Config { sources: Vec::new(), ..config.clone() };
        let mut daemon = Self {
            path: path.to_owned(),
            config: empty,
            board,
            conflicts,
            usage,
            revoked_keys_file,
            running: BTreeMap::new(),
            files: BTreeMap::new(),
            config_error: None,
            is_ready: false,
            unready_since: Instant::now(),
            status_line: String::new(),
        };
        daemon.remove_orphans(&config);
        daemon.adopt(config).await;
        daemon.usage.listen();
        daemon.files = daemon.digests();
        daemon
    }

    /// Makes the running sources those of `config`. A source whose settings are the same does not notice.
    async fn adopt(&mut self, config: Config) {
        let unchanged: BTreeSet<SourceName> = config
            .sources
            .iter()
            .filter(|settings| {
                self.running.get(&settings.name).is_some_and(|running| running.context.settings == **settings)
            })
            .map(|settings| settings.name.clone())
            .collect();
        let names: Vec<SourceName> = self.running.keys().cloned().collect();
        for name in names.iter().filter(|name| !unchanged.contains(*name)) {
            self.stop_source(name).await;
            if !config.sources.iter().any(|settings| settings.name == *name) {
                self.remove_source(name);
            }
        }
        for settings in config.sources.iter().filter(|settings| !unchanged.contains(&settings.name)) {
            self.start_source(settings.clone());
        }
        self.revoked_keys_file.send_replace(config.revoked_keys_file.clone());
        self.config = config;
    }

    fn start_source(&mut self, settings: Settings) {
        let name = settings.name.clone();
        tracing::info!(source = %name, kind = settings.kind_name(), "`{name}`: source started");
        self.board.add(&settings);
        let context = Arc::new(Context::new(
            settings,
            self.config.cache.clone(),
            Arc::clone(&self.board),
            Arc::clone(&self.conflicts),
            Arc::clone(&self.usage),
        ));
        let task = tokio::spawn(source::run(Arc::clone(&context)));
        let reporter = match &context.settings.kind {
            Kind::Feed(remote) => Some(tokio::spawn(reporter::run(Arc::clone(&context), remote.clone()))),
            Kind::Poll { .. } | Kind::Directory { .. } => None,
        };
        self.running.insert(name, Running { context, task, reporter });
    }

    /// Stops a source after the batch at hand.
    async fn stop_source(&mut self, name: &SourceName) {
        let Some(Running { context, task, reporter }) = self.running.remove(name) else { return };
        task.abort();
        if let Some(reporter) = reporter {
            reporter.abort();
            let _ = reporter.await;
            context.usage.save(name);
        }
        // A task that was aborted has no more to say than that.
        let _ = task.await;
        if tokio::time::timeout(STOP_MAX, context.seat.lock()).await.is_err() {
            tracing::error!(source = %name, "`{name}`: the writer of the cache did not stop within {} s", STOP_MAX.as_secs());
        }
        tracing::info!(source = %name, "`{name}`: source stopped");
    }

    /// Somebody has taken the source out of the configuration, so nobody is to log in by it any more.
    fn remove_source(&self, name: &SourceName) {
        self.board.remove(name);
        match Writer::open(&self.config.cache, name).and_then(Writer::remove_source) {
            Ok(()) => {
                tracing::warn!(source = %name, "`{name}`: no longer in the configuration: its keys are removed from the cache");
            }
            Err(error) => {
                tracing::error!(source = %name, "`{name}`: its keys cannot be removed from the cache: {}", ErrorReport::of(&error));
            }
        }
        self.conflicts.touched(name, Touched::All);
    }

    /// Removes what sources left that went from the configuration while no daemon ran.
    fn remove_orphans(&self, config: &Config) {
        let Ok(cache) = pushkeys_cache::Cache::open(&config.cache) else { return };
        for name in cache.sources().unwrap_or_default() {
            let path = config.cache.join(name.as_str());
            let is_known = config.sources.iter().any(|settings| settings.name == name);
            // A folder that no writer made is none of ours, whatever its name.
            if !is_known && path.join("HEAD").is_file() && path.join("LOCK").is_file() {
                self.remove_source(&name);
            }
        }
    }

    /// Takes up a changed configuration and changed credentials. Says whether there are other sources now.
    async fn reload(&mut self, is_asked_for: bool) -> bool {
        let mut is_changed = false;
        if is_asked_for {
            tracing::info!("reload asked for by SIGHUP");
        }
        match Config::load(&self.path) {
            Ok(config) if config.cache != self.config.cache => self.refuse(&format!(
                "`cache` in `{}` cannot change while the daemon runs; hint: systemctl restart pushkeys-syncd",
                self.path.display()
            )),
            Ok(config) if config.metrics != self.config.metrics => self.refuse(&format!(
                "`metrics` in `{}` cannot change while the daemon runs; hint: systemctl restart pushkeys-syncd",
                self.path.display()
            )),
            Ok(config) => {
                if self.config_error.take().is_some() {
                    self.board.config_error(None);
                }
                is_changed = config != self.config;
                if is_changed {
                    tell_reloading();
                    self.adopt(config).await;
                    self.begin_readiness();
                    tracing::info!("configuration taken up from `{}`", self.path.display());
                } else if is_asked_for {
                    tell_reloading();
                    self.begin_readiness();
                }
            }
            Err(error) => self.refuse(&ErrorReport::of(&error).to_string()),
        }
        self.nudge(is_asked_for);
        is_changed
    }

    fn begin_readiness(&mut self) {
        self.is_ready = false;
        self.unready_since = Instant::now();
    }

    /// The configuration before stays in force; the same fault is said once.
    fn refuse(&mut self, what: &str) {
        if self.config_error.as_deref() != Some(what) {
            tracing::error!("the configuration is refused, and the one before stays in force: {what}");
            self.board.config_error(Some(what.to_owned()));
            self.config_error = Some(what.to_owned());
        }
    }

    /// Ends the pause of sources whose files have changed: that may be the cure. Those that are connected show what is new.
    fn nudge(&mut self, everyone: bool) {
        let digests = self.digests();
        for running in self.running.values() {
            let files = running.context.settings.files();
            let is_renewed = files.iter().any(|file| self.files.get(*file) != digests.get(*file));
            if is_renewed {
                running.context.renewed.notify_one();
            }
            if everyone || is_renewed {
                running.context.nudge.notify_one();
            }
        }
        self.files = digests;
    }

    fn digests(&self) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
        let files = self.config.sources.iter().flat_map(Settings::files);
        files.map(|file| (file.to_owned(), digest(file))).collect()
    }

    fn watch(&self) -> Watch {
        let files = self.config.sources.iter().flat_map(Settings::files);
        Watch::on(files.chain([self.path.as_path()]))
    }

    fn tick(&mut self) {
        let stuck = self.running.values().any(|running| running.context.liveness.stuck_for() > STUCK_MAX);
        if !stuck && sd_notify::watchdog_enabled().is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let status = self.board.snapshot();
        let is_settled = status.sources.iter().all(|source| {
            source.generation.is_some() || !matches!(source.state, State::Starting | State::Syncing)
        });
        if (is_settled || self.unready_since.elapsed() > READY_WAIT_MAX) && !self.is_ready {
            self.is_ready = true;
            tell(&[NotifyState::Ready]);
        }
        let sources: Vec<String> = status
            .sources
            .iter()
            .map(|source| format!("{} {}, {} keys", source.name, source.state.as_str(), source.keys))
            .collect();
        let line = sources.join("; ");
        if line != self.status_line {
            tell(&[NotifyState::Status(&line)]);
            self.status_line = line;
        }
    }

    async fn stop(&mut self) {
        tracing::info!("stopping");
        tell(&[NotifyState::Stopping]);
        let names: Vec<SourceName> = self.running.keys().cloned().collect();
        for name in names {
            self.stop_source(&name).await;
        }
        if let Err(error) = self.board.write() {
            tracing::warn!("cannot write the last status: {error}");
        }
    }
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}

fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot tell systemd: {error}");
    }
}
