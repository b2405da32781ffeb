//! `serve`

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::middleware;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Answer, open_store};
use crate::api::{self, Api, Limits};
use crate::auth::Authenticator;
use crate::config::Config;
use crate::console::{self, Console};
use crate::github::GitHub;
use crate::host_feed::{self, Feed, Hub};
use crate::listen;
use crate::log;
use crate::metrics::{self, Metrics};
use crate::secret::ServiceSecret;

pub(super) async fn run(config: &Config) -> anyhow::Result<Answer> {
    log::start()?;
    let policy = Arc::new(config.policy()?);
    let secret = ServiceSecret::load_or_make(&config.secret_file)?;
    let github = config.github.as_ref().map(|settings| GitHub::new(settings, &secret)).transpose()?;
    let store = open_store(config).await?;
    let stopping = CancellationToken::new();
    stop_on_signal(stopping.clone())?;

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on `{}`", config.listen))?;
    let hub = Hub::start(store.clone(), config.heartbeat, stopping.clone()).await?;
    let authenticator =
        Authenticator::new(store.clone(), secret, config.consumers.clone(), config.public_url.clone());
    let metrics = Metrics::new(store.clone(), hub.clone());
    let feed = Feed::new(store.clone(), authenticator.clone(), hub, stopping.clone());
    let limits = Limits::new(config);
    let console = Console::new(config, store.clone(), policy.clone(), limits.clone());
    let api = Api {
        store: store.clone(),
        authenticator,
        policy,
        allowed_origins: config.allowed_origins.clone().into(),
        limits,
        github: github.map(Arc::new),
        cli_token_max: config.console.cli_token_max,
    };
    let routers = api::router(api).merge(host_feed::router(feed)).merge(console::router(console));
    let counted = routers.layer(middleware::from_fn_with_state(metrics.clone(), metrics::count));
    let router = api::with_request_ids(counted);
    serve_metrics(config, metrics).await?;

    announce(config, listener.local_addr()?)?;
    listen::serve(listener, router, stopping).await;
    store.close().await;
    tracing::info!("stopped");
    Ok(Answer::Yes)
}

async fn serve_metrics(config: &Config, metrics: Metrics) -> anyhow::Result<()> {
    let Some(address) = &config.metrics else { return Ok(()) };
    let listener = ::metrics::Listener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics at `{address}`"))?;
    tracing::info!(address = listener.address()?, "metrics are served");
    tokio::spawn(listener.serve(move || {
        let metrics = metrics.clone();
        async move { metrics.text().await }
    }));
    Ok(())
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
        // Outside systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        stopping.cancel();
    });
    Ok(())
}

fn announce(config: &Config, address: SocketAddr) -> anyhow::Result<()> {
    tracing::info!(%address, database = %config.database, "listening");
    if let Some(path) = &config.address_file {
        write_address(path, address).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

/// Whoever waits for the file finds the whole address in it.
fn write_address(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    fs::write(&draft, format!("{address}\n"))?;
    fs::rename(&draft, path)
}
