//! Reports to one key service: which of its keys were used here, what this host has revoked, and its host keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_cache::status::{HostKeysStatus, ReportAnswer};
use pushkeys_cache::{ReadError, Revocation, Revocations, Revoked};
use pushkeys_daemon::Backoff;
use pushkeys_feed::{
    HOST_KEYS_PATH, HostKeysReply, HostKeysReport, HostRevocation, REPORT_ITEMS_MAX, REVOKED_PATH,
    RevokedAnswer, RevokedReply, RevokedReport, RevokedThing, USAGE_PATH,
};
use pushkeys_keys::{ErrorReport, SourceName};
use serde::Serialize;
use thiserror::Error;
use tokio::time::MissedTickBehavior;

use super::host_keys::{HostKeyFiles, HostKeys};
use super::usage::Usage;
use crate::backoff::backoff;
use crate::config::Remote;
use crate::remote::error::RequestError;
use crate::remote::http::{below, post_json};
use crate::revocation::answers::{RevocationAnswer, RevocationAnswers};
use crate::revocation::keeper::revocations;
use crate::status::store::StatusWriter;

/// How soon after a greeting the service knows of it, and after `pushkeys revoke`: a person may be waiting.
const TICK: Duration = Duration::from_secs(1);
/// How often the service is asked again as long as a revocation is not settled.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How often uses that could not be reported are written to the disk.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the files of host keys are read, and keys that are not published are reported again.
const HOST_KEYS_LOOK: Duration = Duration::from_mins(1);
/// How often host keys that have not changed are reported.
const HOST_KEYS_AGAIN: Duration = Duration::from_hours(1);
/// An answer is a word for each item of a report.
const REPLY_BYTES_MAX: u64 = 64 * 1024;

const _: () = assert!(pushkeys_cache::REVOCATIONS_MAX <= REPORT_ITEMS_MAX);

/// Tells one key service what it is to know of this host.
pub(crate) struct Reporter {
    name: SourceName,
    remote: Remote,
    /// The folder of the cache.
    folder: PathBuf,
    usage: Arc<Usage>,
    answers: Arc<RevocationAnswers>,
    backoff: Backoff,
    /// After a failure nothing is tried before this instant.
    not_before: Option<Instant>,
    has_failed: bool,
    /// When uses were last written to the disk, as long as they are there.
    saved_at: Option<Instant>,
    /// The revocations that were last reported, and when. The service may know of revocations that were taken back while no
    /// daemon ran, so the first report is made even if nothing is revoked.
    reported: Option<(Revocations, Instant)>,
    host_keys: Arc<HostKeyFiles>,
    /// The host keys that were last reported, when, and whether all of them are published.
    reported_host_keys: Option<(HostKeys, Instant, bool)>,
    /// When the files of host keys were last read, and the number of requests for that by then.
    host_keys_read: Option<(Instant, u64)>,
    status: StatusWriter,
}

#[derive(Debug, Error)]
enum ReportError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the answer of `{url}` to a report cannot be read")]
    Reply { url: String },
    #[error("the cache cannot be read")]
    Read(#[from] ReadError),
}

impl ReportError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Request(error) => error.status(),
            Self::Reply { .. } | Self::Read(_) => None,
        }
    }
}

impl Reporter {
    /// Reports to the service of the source `name` at `remote`.
    pub(crate) fn new(
        name: SourceName,
        remote: Remote,
        folder: PathBuf,
        usage: Arc<Usage>,
        answers: Arc<RevocationAnswers>,
        host_keys: Arc<HostKeyFiles>,
        status: StatusWriter,
    ) -> Self {
        Self {
            name,
            remote,
            folder,
            usage,
            answers,
            backoff: backoff(),
            not_before: None,
            has_failed: false,
            saved_at: None,
            reported: None,
            host_keys,
            reported_host_keys: None,
            host_keys_read: None,
            status,
        }
    }

    /// Reports until the task is aborted.
    pub(crate) async fn run(mut self) {
        if self.usage.load(&self.name) {
            self.saved_at = Some(Instant::now());
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.not_before.is_some_and(|instant| Instant::now() < instant) {
                continue;
            }
            match self.report().await {
                Ok(()) => self.succeeded().await,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn report(&mut self) -> Result<(), ReportError> {
        let revocations = self.report_revocations().await;
        let uses = self.report_uses().await;
        let host_keys = self.report_host_keys().await;
        revocations.and(uses).and(host_keys)
    }

    async fn report_revocations(&mut self) -> Result<(), ReportError> {
        let revocations = revocations(&self.folder)?;
        let is_known = self.reported.as_ref().is_some_and(|(reported, at)| {
            *reported == revocations && (revocations.is_empty() || at.elapsed() < ASK_AGAIN)
        });
        if is_known {
            return Ok(());
        }
        let answers = match self.ask_of(&revocations).await {
            Ok(answers) => answers,
            // A service that takes no such reports knows of no revocation either.
            Err(error) if revocations.is_empty() && matches!(error.status(), Some(404 | 405)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let at = Timestamp::now();
        let answer = |(revocation, answer): (&Revocation, RevokedAnswer)| {
            let answer = match answer {
                RevokedAnswer::Pending => ReportAnswer::Pending,
                RevokedAnswer::Settled => ReportAnswer::Settled,
                RevokedAnswer::Dismissed => ReportAnswer::Dismissed,
            };
            (revocation.what.clone(), RevocationAnswer { at, answer })
        };
        let answers: BTreeMap<_, _> = revocations.iter().zip(answers).map(answer).collect();
        self.answers.record(&self.name, answers);
        self.reported = Some((revocations, Instant::now()));
        Ok(())
    }

    /// One answer for each of `revocations`.
    async fn ask_of(&self, revocations: &Revocations) -> Result<Vec<RevokedAnswer>, ReportError> {
        let report = RevokedReport { revoked: revocations.iter().map(to_wire).collect() };
        let reply = self.post(REVOKED_PATH, &report).await?;
        serde_json::from_slice::<RevokedReply>(&reply)
            .ok()
            .map(|reply| reply.answers)
            .filter(|answers| answers.len() == report.revoked.len())
            .ok_or_else(|| ReportError::Reply { url: below(&self.remote.url, REVOKED_PATH).into() })
    }

    async fn report_uses(&mut self) -> Result<(), ReportError> {
        loop {
            let report = self.usage.take_some(&self.name);
            if report.uses.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.post(USAGE_PATH, &report).await {
                // A report that the service refuses would hold up all that come after it.
                if !matches!(error.status(), Some(400 | 413 | 422)) {
                    self.usage.give_back(&self.name, report);
                }
                return Err(error);
            }
        }
    }

    async fn report_host_keys(&mut self) -> Result<(), ReportError> {
        let asked = self.host_keys.asked();
        let is_asked = self.host_keys_read.is_none_or(|(_, before)| before != asked);
        if !is_asked && self.host_keys_read.is_some_and(|(at, _)| at.elapsed() < HOST_KEYS_LOOK) {
            return Ok(());
        }
        let keys = self.host_keys.read();
        let is_known = self.reported_host_keys.as_ref().is_some_and(|(reported, at, is_settled)| {
            *reported == keys && *is_settled && !is_asked && at.elapsed() < HOST_KEYS_AGAIN
        });
        if !is_known {
            let report = HostKeysReport { keys: keys.values().cloned().collect() };
            let reply = match self.post(HOST_KEYS_PATH, &report).await {
                Ok(reply) => serde_json::from_slice::<HostKeysReply>(&reply).map_err(|_| {
                    ReportError::Reply { url: below(&self.remote.url, HOST_KEYS_PATH).into() }
                })?,
                // A service that does not know these reports publishes nothing.
                Err(error) if matches!(error.status(), Some(404 | 405)) => HostKeysReply::default(),
                Err(error) => return Err(error),
            };
            let is_settled = reply.waiting.is_empty();
            self.status.host_keys(HostKeysStatus {
                push_host: reply.push_host,
                shown: keys.keys().map(ToString::to_string).collect(),
                waiting: reply.waiting,
            });
            self.reported_host_keys = Some((keys, Instant::now(), is_settled));
        }
        self.host_keys_read = Some((Instant::now(), asked));
        Ok(())
    }

    async fn post(&self, path: &str, report: &impl Serialize) -> Result<Vec<u8>, ReportError> {
        // Texts and numbers always have a JSON form.
        let body = serde_json::to_vec(report).unwrap_or_default();
        Ok(post_json(&self.remote, below(&self.remote.url, path), body, REPLY_BYTES_MAX).await?)
    }

    /// Writes what waits to its file, which a slow disk may delay.
    async fn save(&self) {
        let (usage, name) = (Arc::clone(&self.usage), self.name.clone());
        // It ends early only when the daemon does.
        let _ = tokio::task::spawn_blocking(move || usage.save(&name)).await;
    }

    async fn succeeded(&mut self) {
        self.backoff.reset();
        self.not_before = None;
        if self.saved_at.take().is_some() {
            self.save().await;
        }
        if std::mem::take(&mut self.has_failed) {
            let name = &self.name;
            tracing::info!(source = %name, "`{name}`: the key service takes reports again");
        }
    }

    async fn failed(&mut self, error: &ReportError) {
        self.not_before = Some(Instant::now() + self.backoff.wait());
        let name = &self.name;
        // The source itself logs an outage as often as it meets it; here it is logged once.
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(source = %name, "`{name}`: reports to the key service fail: {}", ErrorReport::of(error));
        }
        if self.saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_INTERVAL) {
            self.save().await;
            self.saved_at = Some(Instant::now());
        }
    }
}

fn to_wire(Revocation { what, since }: &Revocation) -> HostRevocation {
    let what = match what {
        Revoked::Key(fingerprint) => RevokedThing::Fingerprint(*fingerprint),
        Revoked::Account(account) => RevokedThing::Account(account.clone()),
    };
    HostRevocation { what, since: *since }
}
