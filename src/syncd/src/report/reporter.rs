//! Reports to one key service: which of its keys were used here, and what this host has revoked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_cache::status::ReportAnswer;
use pushkeys_cache::{ReadError, Revocation, Revocations, Revoked};
use pushkeys_daemon::Backoff;
use pushkeys_feed::{
    HostRevocation, REPORT_ITEMS_MAX, REVOKED_PATH, RevokedAnswer, RevokedReply, RevokedReport, RevokedThing,
    USAGE_PATH,
};
use pushkeys_keys::{ErrorReport, SourceName};
use serde::Serialize;
use thiserror::Error;
use tokio::time::MissedTickBehavior;

use super::usage::Usage;
use crate::backoff::backoff;
use crate::config::Remote;
use crate::remote::error::RequestError;
use crate::remote::http::{below, post_json};
use crate::revocation::answers::{RevocationAnswer, RevocationAnswers};
use crate::revocation::keeper::revocations;

/// How soon after a greeting the service knows of it, and after `pushkeys revoke`: a person may be waiting.
const TICK: Duration = Duration::from_secs(1);
/// How often the service is asked again as long as a revocation is not settled.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How often uses that could not be reported are written to the disk.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
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
        revocations.and(uses)
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
