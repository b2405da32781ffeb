//! What a key service is told: which of its keys were used here, and which this host has revoked by itself.
//!
//! One task for each source of the kind `feed`. It never holds up the source's own task, and no error of it does either.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_cache::status::{ReportAnswer, RevocationReport, Status};
use pushkeys_cache::{ReadError, Revocation, Revocations, Revoked};
use pushkeys_feed::{
    HostRevocation, REPORT_ITEMS_MAX, REVOKED_PATH, RevokedAnswer, RevokedReply, RevokedReport, RevokedThing,
    USAGE_PATH,
};
use pushkeys_keys::ErrorReport;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::backoff::Backoff;
use crate::config::Remote;
use crate::remote::http::{below, post_json};
use crate::source::Context;
use crate::source::error::SyncError;

/// How soon after a greeting the service knows of it, and after `pushkeys revoke`: a person may be looking.
const TICK: Duration = Duration::from_secs(1);
/// As long as a revocation is not settled the service is told, and asked, again.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// What could not be told is written to the disk this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// An answer has a word for each item of a report.
const REPLY_BYTES_MAX: u64 = 64 * 1024;

const _: () = assert!(pushkeys_cache::REVOCATIONS_MAX <= REPORT_ITEMS_MAX);

/// Tells the service of `remote` until the task is aborted.
pub(crate) async fn run(context: Arc<Context>, remote: Remote) {
    let was_kept = context.usage.load(&context.settings.name);
    let mut reporter = Reporter::new(context, remote);
    reporter.saved_at = was_kept.then(Instant::now);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if reporter.not_before.is_some_and(|instant| Instant::now() < instant) {
            continue;
        }
        match reporter.tell().await {
            Ok(()) => reporter.succeeded(),
            Err(error) => reporter.failed(&error),
        }
    }
}

struct Reporter {
    context: Arc<Context>,
    remote: Remote,
    backoff: Backoff,
    /// After a failure nothing is tried before this instant.
    not_before: Option<Instant>,
    has_failed: bool,
    /// When what could not be told was last written to the disk, as long as it is there.
    saved_at: Option<Instant>,
    /// What the service knows to be revoked here, and since when it does.
    told: Option<(Revocations, Instant)>,
}

impl Reporter {
    fn new(context: Arc<Context>, remote: Remote) -> Self {
        // The service may know of revocations that were taken back while no daemon ran.
        let was_told = Status::read(&context.cache).is_ok_and(|status| {
            status.reports.iter().any(|report| report.source == context.settings.name.as_str())
        });
        let told = (!was_told).then(|| (Revocations::default(), Instant::now()));
        Self {
            context,
            remote,
            backoff: Backoff::default(),
            not_before: None,
            has_failed: false,
            saved_at: None,
            told,
        }
    }

    async fn tell(&mut self) -> Result<(), SyncError> {
        let revocations = self.tell_revocations().await;
        let uses = self.tell_uses().await;
        revocations.and(uses)
    }

    async fn tell_revocations(&mut self) -> Result<(), SyncError> {
        let revocations = revoked_in(&self.context.cache)?;
        let is_known = self.told.as_ref().is_some_and(|(told, at)| {
            *told == revocations && (revocations.is_empty() || at.elapsed() < TELL_AGAIN)
        });
        if is_known {
            return Ok(());
        }
        let report = RevokedReport { revoked: revocations.iter().map(wire).collect() };
        let reply = self.post(REVOKED_PATH, &report).await?;
        let answers = serde_json::from_slice::<RevokedReply>(&reply)
            .ok()
            .map(|reply| reply.answers)
            .filter(|answers| answers.len() == report.revoked.len())
            .ok_or_else(|| SyncError::Reply { url: below(&self.remote.url, REVOKED_PATH).into() })?;
        let told_at = Timestamp::now().to_string();
        let of = |(revocation, answer): (&Revocation, RevokedAnswer)| RevocationReport {
            what: revocation.what.to_string(),
            source: self.context.settings.name.to_string(),
            told_at: told_at.clone(),
            answer: match answer {
                RevokedAnswer::Pending => ReportAnswer::Pending,
                RevokedAnswer::Settled => ReportAnswer::Settled,
                RevokedAnswer::Dismissed => ReportAnswer::Dismissed,
            },
        };
        let reports = revocations.iter().zip(answers).map(of).collect();
        self.context.board.reported(&self.context.settings.name, reports);
        self.told = Some((revocations, Instant::now()));
        Ok(())
    }

    async fn tell_uses(&mut self) -> Result<(), SyncError> {
        let name = &self.context.settings.name;
        loop {
            let report = self.context.usage.some_of(name);
            if report.uses.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.post(USAGE_PATH, &report).await {
                if !is_refused(&error) {
                    self.context.usage.give_back(name, report);
                }
                return Err(error);
            }
        }
    }

    async fn post(&self, path: &str, report: &impl Serialize) -> Result<Vec<u8>, SyncError> {
        // Texts and numbers always have a JSON form.
        let body = serde_json::to_vec(report).unwrap_or_default();
        post_json(&self.remote, below(&self.remote.url, path), body, REPLY_BYTES_MAX).await
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.not_before = None;
        if self.saved_at.take().is_some() {
            self.context.usage.save(&self.context.settings.name);
        }
        if std::mem::take(&mut self.has_failed) {
            let name = &self.context.settings.name;
            tracing::info!(source = %name, "`{name}`: the key service takes reports again");
        }
    }

    fn failed(&mut self, error: &SyncError) {
        self.not_before = Some(Instant::now() + self.backoff.next());
        let name = &self.context.settings.name;
        // An outage is the source's own to tell; here it is told once.
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(source = %name, "`{name}`: reports to the key service fail: {}", ErrorReport::of(error));
        }
        if self.saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_INTERVAL) {
            self.context.usage.save(name);
            self.saved_at = Some(Instant::now());
        }
    }
}

/// What is revoked in the cache in `folder`; nothing is before the first source has made it.
pub(crate) fn revoked_in(folder: &Path) -> Result<Revocations, ReadError> {
    match pushkeys_cache::revocations(folder) {
        Err(ReadError::Missing(_)) => Ok(Revocations::default()),
        other => other,
    }
}

/// Whether the service will never take the report: keeping it would keep all that comes after it.
fn is_refused(error: &SyncError) -> bool {
    matches!(error, SyncError::Status { status: 400 | 413 | 422, .. })
}

fn wire(Revocation { what, since }: &Revocation) -> HostRevocation {
    let what = match what {
        Revoked::Key(fingerprint) => RevokedThing::Fingerprint(*fingerprint),
        Revoked::Account(account) => RevokedThing::Account(account.clone()),
    };
    HostRevocation { what, since: *since }
}
