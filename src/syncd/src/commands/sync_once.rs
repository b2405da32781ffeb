//! One full sync of every source.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use pushkeys_keys::{ErrorReport, SourceName};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::apply::new_state::Outcome;
use crate::config::Config;
use crate::revocation::answers::RevocationAnswers;
use crate::source::error::SyncError;
use crate::source::run::sync_once;
use crate::source::task::SourceTask;
use crate::status::conflicts::ConflictWatch;
use crate::status::store::StatusStore;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What became of one source.
#[derive(Debug, Serialize)]
struct SourceReport {
    source: String,
    ok: bool,
    keys: u64,
    added: u64,
    removed: u64,
    changed: u64,
    skipped: u64,
    problem: Option<ErrorReport>,
}

/// Syncs all sources at once, and prints a line about each.
pub(super) async fn run(config: &Config, json: bool) -> ExitCode {
    let answers = Arc::new(RevocationAnswers::default());
    let status = Arc::new(StatusStore::new(&config.cache, Path::new(""), answers));
    let conflicts = Arc::new(ConflictWatch::default());
    let progress = io::stderr().is_terminal().then(MultiProgress::new);
    let mut syncs = JoinSet::new();
    for settings in &config.sources {
        let writer = status.add(settings);
        let source = SourceTask::new(settings.clone(), config.cache.clone(), writer, Arc::clone(&conflicts));
        let bar = progress.as_ref().map(|progress| progress.add(ProgressBar::new_spinner()));
        syncs.spawn(async move {
            let result = with_progress(&source, bar).await;
            (source.settings.name, result)
        });
    }
    let mut reports: Vec<SourceReport> = Vec::new();
    while let Some(finished) = syncs.join_next().await {
        if let Ok((name, result)) = finished {
            reports.push(report(&name, &result, &status));
        }
    }
    reports.sort_unstable_by(|one, other| one.source.cmp(&other.source));
    // A closed pipe is the reader's decision.
    let _ = print(&reports, json);
    let is_done = reports.len() == config.sources.len() && reports.iter().all(|report| report.ok);
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn with_progress(source: &SourceTask, bar: Option<ProgressBar>) -> Result<Outcome, SyncError> {
    let sync = sync_once(source);
    let Some(bar) = bar else { return sync.await };
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    tokio::pin!(sync);
    loop {
        tokio::select! {
            result = &mut sync => {
                bar.finish_and_clear();
                return result;
            }
            _ = ticks.tick() => {
                bar.set_message(format!("{}: {} entries", source.settings.name, source.snapshot_lines()));
                bar.tick();
            }
        }
    }
}

fn report(source: &SourceName, result: &Result<Outcome, SyncError>, status: &StatusStore) -> SourceReport {
    let facts = status.facts().sources.remove(source);
    let (keys, skipped) = facts.map_or((0, 0), |facts| (facts.keys(), facts.skipped.count));
    let empty = SourceReport {
        source: source.to_string(),
        ok: false,
        keys,
        added: 0,
        removed: 0,
        changed: 0,
        skipped,
        problem: None,
    };
    match result {
        Ok(Outcome::Taken(difference)) => SourceReport {
            ok: true,
            added: difference.added,
            removed: difference.removed,
            changed: difference.changed,
            ..empty
        },
        Ok(Outcome::Held(held)) => {
            let what = format!("held back: it would remove {} of {} keys", held.removed, held.keys_in_force);
            let problem = ErrorReport::hinted(&what, &format!("pushkeys accept {source}"));
            SourceReport { added: held.added, removed: held.removed, problem: Some(problem), ..empty }
        }
        Err(error) => SourceReport { problem: Some(ErrorReport::of(error)), ..empty },
    }
}

fn print(reports: &[SourceReport], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, reports)?;
        return writeln!(out);
    }
    for SourceReport { source, keys, added, removed, changed, skipped, problem, .. } in reports {
        match problem {
            Some(problem) => writeln!(out, "{source}: {problem}")?,
            None => writeln!(
                out,
                "{source}: in sync, {keys} keys ({added} added, {removed} removed, {changed} changed, {skipped} left out)"
            )?,
        }
    }
    Ok(())
}
