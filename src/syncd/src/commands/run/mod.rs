//! The daemon: starts and stops sources as the configuration says, and tells systemd how it is doing.

mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pushkeys_daemon::service_manager;
use pushkeys_keys::ErrorReport;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::sources::Sources;
use crate::config::{self, Config};
use crate::report::host_keys::HostKeyFiles;
use crate::revocation::answers::RevocationAnswers;
use crate::revocation::keeper;
use crate::session_log;
use crate::status::conflicts::ConflictWatch;
use crate::status::metrics;
use crate::status::store::StatusStore;
use crate::watch::Watch;

/// How often readiness, the watchdog and the status line are looked at.
const TICK: Duration = Duration::from_millis(250);
/// An applier that gives no sign of life for this long hangs in a system call: restarting may help, waiting did not.
const STUCK_MAX: Duration = Duration::from_mins(5);
/// The unit is ordered before sshd, which must not wait for a first sync that takes long, or for a service that is slow.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Runs under `config`, which was read from `path`, until SIGTERM or SIGINT.
pub(super) async fn run(path: &Path, config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut daemon = Daemon::start(path, config).await;
    let mut watch = daemon.watch();
    let mut look_at = tokio::time::Instant::now() + watch.interval();
    loop {
        let is_hangup = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = ticks.tick() => {
                daemon.tick();
                continue;
            }
            _ = hangup.recv() => true,
            () = watch.changed() => false,
            () = tokio::time::sleep_until(look_at) => false,
        };
        // Watching begins again before the files are read, so that no change falls between the two.
        watch = daemon.watch();
        if daemon.reload(is_hangup).await {
            watch = daemon.watch();
        }
        look_at = tokio::time::Instant::now() + watch.interval();
    }
    daemon.stop().await;
    Ok(())
}

struct Daemon {
    path: PathBuf,
    config: Config,
    status: Arc<StatusStore>,
    sources: Sources,
    /// Where sshd's `RevokedKeys` points, if that is configured.
    revoked_keys_file: watch::Sender<Option<PathBuf>>,
    host_keys: Arc<HostKeyFiles>,
    config_error: Option<ErrorReport>,
    is_ready: bool,
    unready_since: Instant,
    status_line: String,
}

impl Daemon {
    async fn start(path: &Path, config: Config) -> Self {
        let folder = &config.cache;
        session_log::listen(folder);
        let answers = Arc::new(RevocationAnswers::default());
        let status = Arc::new(StatusStore::new(folder, path, Arc::clone(&answers)));
        let publisher = Arc::clone(&status);
        tokio::spawn(publisher.publish());
        let conflicts = Arc::new(ConflictWatch::default());
        tokio::spawn(Arc::clone(&conflicts).run(folder.as_path().into(), Arc::clone(&status)));
        if let Some(address) = &config.metrics {
            serve_metrics(address, &status).await;
        }
        let (revoked_keys_file, list) = watch::channel(config.revoked_keys_file.clone());
        tokio::spawn(keeper::run(folder.clone(), Arc::clone(&answers), list));
        let host_keys = Arc::new(HostKeyFiles::default());
        host_keys.set(config.host_keys.clone());
        let mut sources =
            Sources::new(folder, Arc::clone(&status), conflicts, answers, Arc::clone(&host_keys));
        sources.name(&config.sources);
        sources.adopt(&config.sources).await;
        sources.wake(false);
        Self {
            path: path.to_owned(),
            config,
            status,
            sources,
            revoked_keys_file,
            host_keys,
            config_error: None,
            is_ready: false,
            unready_since: Instant::now(),
            status_line: String::new(),
        }
    }

    /// Takes over a changed configuration and changed credentials. Returns whether the configuration has changed.
    async fn reload(&mut self, is_hangup: bool) -> bool {
        let mut is_changed = false;
        if is_hangup {
            tracing::info!("reload asked for by SIGHUP");
            self.host_keys.ask();
        }
        match config::load(&self.path) {
            Ok(config) if config.cache != self.config.cache => self.refuse_to_change("cache"),
            Ok(config) if config.metrics != self.config.metrics => self.refuse_to_change("metrics"),
            Ok(config) => {
                if self.config_error.take().is_some() {
                    self.status.config_error(None);
                }
                is_changed = config != self.config;
                if is_changed || is_hangup {
                    service_manager::reloading();
                    self.is_ready = false;
                    self.unready_since = Instant::now();
                }
                if is_changed {
                    self.host_keys.set(config.host_keys.clone());
                    self.sources.adopt(&config.sources).await;
                    self.revoked_keys_file.send_replace(config.revoked_keys_file.clone());
                    self.config = config;
                    tracing::info!("configuration `{}` is in force", self.path.display());
                }
            }
            Err(error) => self.refuse(ErrorReport::of(&error)),
        }
        self.sources.wake(is_hangup);
        is_changed
    }

    fn refuse_to_change(&mut self, setting: &str) {
        let what = format!("`{setting}` in `{}` cannot change while the daemon runs", self.path.display());
        self.refuse(ErrorReport::hinted(&what, "systemctl restart pushkeys-syncd"));
    }

    /// The configuration before stays in force. The same fault is logged once.
    fn refuse(&mut self, error: ErrorReport) {
        if self.config_error.as_ref() != Some(&error) {
            tracing::error!("the configuration is refused, and the one before stays in force: {error}");
            self.status.config_error(Some(error.clone()));
            self.config_error = Some(error);
        }
    }

    fn watch(&self) -> Watch {
        let watch = Watch::on(self.sources.files().chain([self.path.as_path()]));
        self.status.watch_error(watch.error());
        watch
    }

    fn tick(&mut self) {
        if self.sources.stuck_for() <= STUCK_MAX && service_manager::watchdog().is_some() {
            service_manager::alive();
        }
        let has_waited = self.unready_since.elapsed() > READY_WAIT_MAX;
        if !self.is_ready && (has_waited || self.sources.are_settled()) {
            self.is_ready = true;
            service_manager::ready();
        }
        let line = self.status.line();
        if line != self.status_line {
            service_manager::status(&line);
            self.status_line = line;
        }
    }

    async fn stop(&mut self) {
        tracing::info!("stopping");
        service_manager::stopping();
        self.sources.stop().await;
        if let Err(error) = self.status.write() {
            tracing::warn!("the last status is not kept: {}", ErrorReport::of(&error));
        }
    }
}

/// Serves metrics. Logins matter more than numbers, so an address that cannot be had is logged, and the daemon goes on.
async fn serve_metrics(address: &pushkeys_daemon::metrics::Address, status: &Arc<StatusStore>) {
    match pushkeys_daemon::metrics::Listener::bind(address).await {
        Ok(listener) => {
            tracing::info!("metrics are at {}", listener.address().unwrap_or_default());
            let status = Arc::clone(status);
            tokio::spawn(listener.serve(move || {
                let text = metrics::text(&status);
                async move { text }
            }));
        }
        Err(error) => tracing::error!("cannot serve metrics at `{address}`: {error}"),
    }
}
