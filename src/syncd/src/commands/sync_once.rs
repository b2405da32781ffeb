//! `--once`: one full sync of every source.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use pushkeys_keys::ErrorReport;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::apply::applier::Outcome;
use crate::config::Config;
use crate::report::usage::Usage;
use crate::source::error::SyncError;
use crate::source::{Context, sync_once};
use crate::status::conflicts::ConflictWatch;
use crate::status::store::Board;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What became of one source.
#[derive(Debug, Serialize)]
struct Report {
    source: String,
    ok: bool,
    keys: u64,
    added: u64,
    removed: u64,
    changed: u64,
    skipped: u64,
    problem: Option<String>,
}

/// Syncs all sources at once, and prints a line about each.
pub(crate) async fn run(config: &Config, json: bool) -> ExitCode {
    let board = Arc::new(Board::new(&config.cache, Path::new("")));
    let conflicts = Arc::new(ConflictWatch::default());
    let usage = Arc::new(Usage::new(&config.cache));
    let progress = io::stderr().is_terminal().then(MultiProgress::new);
    let mut syncs = JoinSet::new();
    for settings in &config.sources {
        board.add(settings);
        let context = Arc::new(Context::new(
            settings.clone(),
            config.cache.clone(),
            Arc::clone(&board),
            Arc::clone(&conflicts),
            Arc::clone(&usage),
        ));
        let bar = progress.as_ref().map(|progress| progress.add(ProgressBar::new_spinner()));
        syncs.spawn(async move {
            let result = watched(&context, bar).await;
            (context.settings.name.to_string(), result)
        });
    }
    let mut reports: Vec<Report> = Vec::new();
    while let Some(finished) = syncs.join_next().await {
        if let Ok((name, result)) = finished {
            reports.push(report(name, &result, &board));
        }
    }
    reports.sort_unstable_by(|one, other| one.source.cmp(&other.source));
    // A closed pipe is the reader's decision.
    let _ = print(&reports, json);
    let is_done = reports.len() == config.sources.len() && reports.iter().all(|report| report.ok);
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn watched(context: &Arc<Context>, bar: Option<ProgressBar>) -> Result<Outcome, SyncError> {
    let sync = sync_once(context);
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
                let lines = context.progress.load(Ordering::Relaxed);
                bar.set_message(format!("{}: {lines} entries", context.settings.name));
                bar.tick();
            }
        }
    }
}

fn report(source: String, result: &Result<Outcome, SyncError>, board: &Board) -> Report {
    let status = board.snapshot().sources.into_iter().find(|status| status.name == source);
    let keys = status.as_ref().map_or(0, |status| status.keys);
    let skipped = status.as_ref().map_or(0, |status| status.skipped.count);
    let empty = Report { source, ok: false, keys, added: 0, removed: 0, changed: 0, skipped, problem: None };
    match result {
        Ok(Outcome::Taken(difference)) => Report {
            ok: true,
            added: difference.added,
            removed: difference.removed,
            changed: difference.changed,
            ..empty
        },
        Ok(Outcome::Held(held)) => {
            let problem = format!(
                "held back: it would remove {} of {} keys; hint: pushkeys accept {}",
                held.removed, held.keys_in_force, empty.source
            );
            Report { added: held.added, removed: held.removed, problem: Some(problem), ..empty }
        }
        Err(error) => Report { problem: Some(ErrorReport::of(error).to_string()), ..empty },
    }
}

fn print(reports: &[Report], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, reports)?;
        return writeln!(out);
    }
    for Report { source, keys, added, removed, changed, skipped, problem, .. } in reports {
        match problem {
            Some(problem) => writeln!(out, "{source}: {problem}")?,
            None => writeln!(
                out,
                "{source}: in step, {keys} keys ({added} added, {removed} removed, {changed} changed, {skipped} left out)"
            )?,
        }
    }
    Ok(())
}
