//! `serve`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::middleware;
use pushkeys_daemon::service_manager;
use pushkeys_files::Attributes;
use pushkeys_keys::{ErrorReport, Policy};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::shared::{Answer, open_store};
use crate::api::{self, Api};
use crate::auth::Authenticator;
use crate::concurrency::Concurrency;
use crate::config::Config;
use crate::console::{self, Console, ExternalServices};
use crate::github::GitHub;
use crate::host_feed::{self, Feed, Hub};
use crate::http_rules::{self, HttpRules};
use crate::listen::{self, HttpServer};
use crate::mail::Sender;
use crate::metrics::{self, Metrics};
use crate::oidc::Oidc;
use crate::rate_limit::Limits;
use crate::request_id::with_request_ids;
use crate::secret::ServiceSecret;
use crate::store::{Store, StoreError, SumDifference};
use crate::tls::{self, Tls};

/// What is logged, in the syntax of tracing-subscriber's `EnvFilter`; `info` without it.
const LOG_FILTER_VARIABLE: &str = "PUSHKEYS_SERVER_LOG";
/// Every user may wait for the address, and read it.
const ADDRESS_FILE_MODE: u32 = 0o644;
/// Requests of one account that wait for hosts at once; further ones do not wait.
const WAITS_PER_ACCOUNT_MAX: usize = 8;
/// Watchdog notifications per watchdog interval of systemd: two may be late.
const WATCHDOG_SHARE: u32 = 3;
/// The pause between two batches of [`fill_key_facts`].
const FACTS_PAUSE: Duration = Duration::from_millis(20);
/// When and how often the table of keys is compared with what hosts are told, and the pause after each thousand keys: a million keys
/// take some seconds of one processor.
const SUM_CHECK_DELAY: Duration = Duration::from_mins(1);
const SUM_CHECK_INTERVAL: Duration = Duration::from_hours(1);
const SUM_CHECK_PAUSE: Duration = Duration::from_millis(5);
/// How long the last acknowledgements may take at a stop. With the end of requests before it, and that of the connections
/// after it, the service stops within the time of its unit (`TimeoutStopSec`), whatever the database does.
const LAST_WRITE_TIME_MAX: Duration = Duration::from_secs(3);
/// How often acknowledgements of hosts are written to the database.
const ACKNOWLEDGEMENTS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(config: &Config) -> anyhow::Result<Answer> {
    pushkeys_daemon::log::start(LOG_FILTER_VARIABLE)?;
    let policy = Arc::new(config.policy()?);
    let secret = ServiceSecret::load_or_make(&config.secret_file)?;
    let github = config.github.as_ref().map(|settings| GitHub::new(settings, &secret)).transpose()?;
    let github = github.map(Arc::new);
    let oidc = config.oidc.as_ref().map(|settings| Oidc::new(settings, &secret)).transpose()?;
    let store = open_store(config).await?;
    store.watch();
    let stopping = CancellationToken::new();
    stop_on_signal(stopping.clone())?;
    let tls = start_tls(config)?;

    let listener =
        listen::bind(config.listen).await.with_context(|| format!("cannot listen on `{}`", config.listen))?;
    let address = listener.local_addr()?;
    config.check_exposure(address)?;
    let hub = Hub::start(store.clone(), config.heartbeat, stopping.clone()).await?;
    let authenticator =
        Authenticator::new(store.clone(), secret, config.consumers.clone(), config.public_url.clone());
    let metrics = Metrics::new(store.clone());
    let push_host = config.console.push_host.clone();
    let feed = Feed::new(store.clone(), authenticator.clone(), hub.clone(), push_host, stopping.clone());
    let limits = Limits::new(config.account_rate, config.address_rate, config.proxies());
    let service_url = config.service_url(address);
    let external = ExternalServices { github: github.clone(), oidc };
    let console = Console::new(
        config.console.clone(),
        store.clone(),
        policy.clone(),
        limits.clone(),
        service_url.clone(),
        external,
    );
    let api = Api {
        store: store.clone(),
        authenticator,
        policy: policy.clone(),
        allowed_origins: config.allowed_origins.clone().into(),
        limits: limits.clone(),
        github,
        service_url,
        waits: Concurrency::new(WAITS_PER_ACCOUNT_MAX),
        cli_token_max: config.console.cli_token_max,
    };
    let routers = api::router(api).merge(host_feed::router(feed)).merge(console::router(console));
    let counted = routers.layer(middleware::from_fn_with_state(metrics.clone(), metrics::count));
    let http = HttpRules { is_https: config.is_https(), refuse: api::refuse };
    let ruled = counted.layer(middleware::from_fn_with_state(http, http_rules::apply));
    let router = with_request_ids(ruled);
    serve_metrics(config, metrics.clone(), hub.clone()).await?;

    tokio::spawn(fill_key_facts(store.clone(), policy, stopping.clone()));
    tokio::spawn(check_sums(store.clone(), stopping.clone()));
    let acknowledgements = tokio::spawn(write_acknowledgements(store.clone(), stopping.clone()));
    let sender = mail_sender(config, &store)?;
    let sending = sender.map(|sender| tokio::spawn(sender.run(stopping.clone())));
    announce(config, address)?;
    let connections_per_address_max = config.connections_per_address_max;
    let server = HttpServer { router, tls, metrics, limits, connections_per_address_max, stopping };
    listen::serve(listener, server).await;
    if let Some(sending) = sending {
        sending.await?;
    }
    if timeout(LAST_WRITE_TIME_MAX, acknowledgements).await.is_err() {
        tracing::warn!("the last acknowledgements of hosts were not written: the database does not answer");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(Answer::Yes)
}

/// Writes the acknowledgements of hosts until `stopping`, and then the last ones.
async fn write_acknowledgements(store: Store, stopping: CancellationToken) {
    let mut has_failed = false;
    while stopping.run_until_cancelled(tokio::time::sleep(ACKNOWLEDGEMENTS_INTERVAL)).await.is_some() {
        match store.write_acknowledgements().await {
            Ok(()) => has_failed = false,
            Err(error) => {
                if !has_failed {
                    tracing::warn!("{}", ErrorReport::of(&error));
                }
                has_failed = true;
            }
        }
    }
    if let Err(error) = store.write_acknowledgements().await {
        tracing::warn!("{}", ErrorReport::of(&error));
    }
}

/// Compares number and digest of all keys with the table of keys from time to time, until `stopping`.
async fn check_sums(store: Store, stopping: CancellationToken) {
    let mut delay = SUM_CHECK_DELAY;
    while stopping.run_until_cancelled(tokio::time::sleep(delay)).await.is_some() {
        delay = SUM_CHECK_INTERVAL;
        let checking = async {
            let Some(difference) = store.find_sum_difference(SUM_CHECK_PAUSE).await? else { return Ok(()) };
            let SumDifference { told, found } = difference;
            // With the writer lock it is certain.
            if store.repair_sum().await? {
                tracing::error!(%told, %found, "the table of keys was changed by something else than pushkeys-server: hosts were told of {told}, and the table has {found}; a new epoch begins, and every host takes a snapshot");
            }
            Ok::<_, StoreError>(())
        };
        if let Some(Err(error)) = stopping.run_until_cancelled(Box::pin(checking)).await {
            tracing::warn!("cannot compare the digest of all keys: {}", ErrorReport::of(&error));
        }
    }
}

/// Fills in type and size of keys that an older version stored, while the service runs.
async fn fill_key_facts(store: Store, policy: Arc<Policy>, stopping: CancellationToken) {
    let filling = async {
        let mut filled = 0;
        loop {
            match store.fill_key_facts(&policy).await {
                Ok(0) => return filled,
                Ok(count) => filled += count,
                Err(error) => {
                    tracing::warn!(
                        "type and size of old keys are filled in after the next start: {}",
                        ErrorReport::of(&error)
                    );
                    return filled;
                }
            }
            // Lets other writers in.
            tokio::time::sleep(FACTS_PAUSE).await;
        }
    };
    if let Some(filled @ 1..) = stopping.run_until_cancelled(Box::pin(filling)).await {
        tracing::info!(keys = filled, "stored type and size of {filled} old keys");
    }
}

async fn serve_metrics(config: &Config, metrics: Metrics, hub: Hub) -> anyhow::Result<()> {
    let Some(address) = &config.metrics else { return Ok(()) };
    let listener = pushkeys_daemon::metrics::Listener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics at `{address}`"))?;
    let address = listener.address()?;
    tracing::info!(address, "metrics are at {address}");
    tokio::spawn(listener.serve(move || {
        let (metrics, streams) = (metrics.clone(), hub.streams());
        async move { metrics.text(streams).await }
    }));
    Ok(())
}

/// Reads the files of `[tls]`, and again whenever they change or SIGHUP arrives.
fn start_tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let (tls, reloader) = config.tls.as_ref().map(Tls::start).transpose()?.unzip();
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut reloader = reloader;
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    // Handled also without TLS files, since the signal would otherwise end the service.
                    service_manager::reloading();
                    if let Some(reloader) = &mut reloader {
                        reloader.reload();
                    }
                    service_manager::ready();
                }
                () = tokio::time::sleep(tls::POLL_INTERVAL), if reloader.is_some() => {
                    if let Some(reloader) = &mut reloader {
                        reloader.poll();
                    }
                }
            }
        }
    });
    Ok(tls)
}

fn mail_sender(config: &Config, store: &Store) -> anyhow::Result<Option<Sender>> {
    let Some(settings) = &config.smtp else { return Ok(None) };
    let console = config.console.base_url.as_ref().map(|url| url.as_str().to_owned());
    Ok(Some(Sender::new(store.clone(), settings, console)?))
}

fn stop_on_signal(stopping: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        service_manager::stopping();
        stopping.cancel();
    });
    Ok(())
}

fn announce(config: &Config, address: SocketAddr) -> anyhow::Result<()> {
    tracing::info!(%address, tls = config.tls.is_some(), database = %config.database, "listening at {address}");
    if let Some(path) = &config.address_file {
        let text = format!("{address}\n");
        pushkeys_files::replace(path, text.as_bytes(), Attributes::mode(ADDRESS_FILE_MODE))?;
    }
    service_manager::ready();
    if let Some(limit) = service_manager::watchdog() {
        tokio::spawn(feed_watchdog(limit / WATCHDOG_SHARE));
    }
    Ok(())
}

/// Notifies systemd's watchdog while the runtime schedules tasks. It does not check the database: a restart would not
/// bring it back, and would end every host's stream.
async fn feed_watchdog(interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        service_manager::alive();
    }
}
