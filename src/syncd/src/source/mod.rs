//! One task per source: it connects, listens, and hands what it hears to the applier. Its errors never leave it.

mod directory;
pub(crate) mod error;
mod feed;
mod poll;
pub(crate) mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pushkeys_keys::ErrorReport;
use tokio::sync::Notify;

pub(crate) use directory::{DirectoryError, check as check_directory, entries as directory_entries};

use crate::apply::applier::{Applier, Outcome};
use crate::apply::liveness::Liveness;
use crate::backoff::Backoff;
use crate::config::{Kind, Settings};
use crate::remote::http::Request;
use crate::report::acknowledgement;
use crate::report::usage::Usage;
use crate::source::error::SyncError;
use crate::status::conflicts::ConflictWatch;
use crate::status::store::Board;
use crate::validate::Judge;

/// How often a held source looks whether a person has accepted its snapshot.
const ACCEPTANCE_INTERVAL: Duration = Duration::from_secs(1);

/// What `pushkeys accept` leaves in the folder of a source; the writer judges what it says.
const ACCEPT_FILE: &str = "ACCEPT";

/// What a source and its applier share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) cache: PathBuf,
    pub(crate) rendering: String,
    pub(crate) judge: Arc<Judge>,
    pub(crate) board: Arc<Board>,
    pub(crate) liveness: Arc<Liveness>,
    /// Taken as long as an applier of this source runs.
    pub(crate) seat: Arc<tokio::sync::Mutex<()>>,
    /// Ends a pause: something has changed that may cure the source.
    pub(crate) nudge: Notify,
    /// The files of its credentials have changed.
    pub(crate) renewed: Notify,
    /// HEAD was written.
    pub(crate) applied: Notify,
    /// How many lines of a snapshot have come.
    pub(crate) progress: AtomicU64,
    pub(crate) conflicts: Arc<ConflictWatch>,
    pub(crate) usage: Arc<Usage>,
}

/// Where the cache stands in its source's history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// In the source's own words; `None` when a full sync is due.
    pub(crate) cursor: Option<String>,
}

impl Context {
    pub(crate) fn new(
        settings: Settings,
        cache: PathBuf,
        board: Arc<Board>,
        conflicts: Arc<ConflictWatch>,
        usage: Arc<Usage>,
    ) -> Self {
        let judge = Judge::new(settings.logins.clone(), settings.command.clone());
        Self {
            rendering: settings.rendering(),
            settings,
            cache,
            judge: Arc::new(judge),
            board,
            liveness: Arc::new(Liveness::new()),
            seat: Arc::default(),
            nudge: Notify::new(),
            renewed: Notify::new(),
            applied: Notify::new(),
            progress: AtomicU64::new(0),
            conflicts,
            usage,
        }
    }

    fn report(&self, error: &SyncError) {
        let what = ErrorReport::of(error).to_string();
        let name = &self.settings.name;
        tracing::warn!(source = %name, "`{name}`: {what}");
        self.board.failed(&self.settings.name, error.state(), &what);
    }

    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.nudge.notified() => {}
        }
    }
}

/// Keeps the source in step until the task is aborted.
pub(crate) async fn run(context: Arc<Context>) {
    let mut backoff = Backoff::default();
    loop {
        let opened = Arc::clone(&context);
        let applier = match tokio::task::spawn_blocking(move || Applier::open(&opened)).await {
            Ok(opened) => opened,
            Err(_) => Err(SyncError::Stopped),
        };
        let error = match applier {
            Ok(applier) => {
                listen(&context, &applier, &mut backoff).await;
                match tokio::task::spawn_blocking(move || applier.join()).await {
                    Ok(Err(error)) => error,
                    Ok(Ok(())) | Err(_) => SyncError::Stopped,
                }
            }
            Err(error) => error,
        };
        context.report(&error);
        context.pause(backoff.next()).await;
    }
}

/// Connects again and again until the applier stops.
async fn listen(context: &Context, applier: &Applier, backoff: &mut Backoff) {
    let mut place = applier.place.clone();
    loop {
        let result = match &context.settings.kind {
            Kind::Feed(remote) => tokio::select! {
                result = feed::follow(context, applier, remote, &mut place, backoff) => result,
                never = acknowledgement::tell(context, remote) => match never {},
            },
            Kind::Poll { remote, interval } => {
                poll::follow(context, applier, remote, *interval, &mut place, backoff).await
            }
            Kind::Directory { path } => directory::follow(context, applier, path, backoff).await,
        };
        if applier.has_stopped() {
            return;
        }
        if let Err(error) = result {
            context.report(&error);
            context.pause(backoff.next()).await;
        }
    }
}

/// One full sync, for `--once`.
pub(crate) async fn sync_once(context: &Arc<Context>) -> Result<Outcome, SyncError> {
    let opened = Arc::clone(context);
    let applier = tokio::task::spawn_blocking(move || Applier::open(&opened))
        .await
        .map_err(|_| SyncError::Stopped)??;
    let result = match &context.settings.kind {
        Kind::Feed(remote) => feed::snapshot(context, &applier, remote).await.map(|(_, outcome)| outcome),
        Kind::Poll { remote, .. } => poll::snapshot(context, &applier, remote).await,
        Kind::Directory { path } => directory::scan(context, &applier, path).await,
    };
    let joined = tokio::task::spawn_blocking(move || applier.join()).await.map_err(|_| SyncError::Stopped)?;
    // Why the applier stopped says more than that it did.
    joined.and(result)
}

/// Asks a source for its whole snapshot; `None` where the keys are on this host.
pub(crate) fn snapshot_request(settings: &Settings) -> Option<Request<'_>> {
    match &settings.kind {
        Kind::Feed(remote) => Some(feed::snapshot_request(remote)),
        Kind::Poll { remote, .. } => Some(poll::request(remote, None)),
        Kind::Directory { .. } => None,
    }
}

/// Waits until a person has accepted the snapshot that is held back, or for ever if none is.
async fn accepted(context: &Context, is_held: bool) {
    if !is_held {
        return std::future::pending().await;
    }
    let path = context.cache.join(context.settings.name.as_str()).join(ACCEPT_FILE);
    while !path.exists() {
        tokio::time::sleep(ACCEPTANCE_INTERVAL).await;
    }
}
