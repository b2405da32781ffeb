//! `pushkeys verify`: every file, line and key of the cache.

mod piece;
mod report;
mod source;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use pushkeys_cache::{Cache, Source};
use pushkeys_files::Trust;
use pushkeys_keys::{ErrorReport, Fingerprint, Policy};

use crate::context::{Context, Outcome, check_replaced};
use crate::output::count;
use crate::shards::in_order;
use piece::{Examiner, Fault, Piece};
use report::Verification;
pub(crate) use source::against_source;

/// Fewer shards are read before anyone could see a progress bar.
const SHARDS_WITH_PROGRESS_MIN: u64 = 256;

/// Writes every fault of the cache, and how much was checked.
pub(crate) fn run(context: &Context, out: &mut dyn io::Write) -> Result<Outcome> {
    let (cache, names) = context.open()?;
    let mut report = Verification::new(out, context.json);
    let mut sources = Vec::new();
    for stranger in cache.strangers()? {
        let what = "it is no source of syncd's configuration, and no lookup reads it";
        report.fault(&context.cache.join(stranger.as_str()), None, what)?;
    }
    for name in &names {
        report.sources += 1;
        match cache.source(name) {
            Ok(source) => {
                check_modes(&context.cache.join(name.as_str()), &source, &mut report)?;
                sources.push(source);
            }
            Err(error) => report.unreadable(&error)?,
        }
    }
    let progress = progress(sources.iter().map(|source| u64::from(source.shard_count())).sum());
    let policy = Policy::default();
    for source in &sources {
        let keys_before = report.keys;
        let start = || {
            let mut examiner = Examiner::new(source, &sources, &policy);
            move |shards| examiner.examine(shards)
        };
        in_order(0..source.shard_count(), start, |piece| {
            progress.inc(piece.shards);
            progress.suspend(|| report_piece(&cache, source, &piece, &mut report))
        })?;
        progress.suspend(|| compare_count(&cache, source, report.keys - keys_before));
    }
    progress.finish_and_clear();
    report.finish()
}

fn report_piece(cache: &Cache, source: &Source, piece: &Piece, report: &mut Verification<'_>) -> Result<()> {
    report.shards += piece.shards;
    report.keys += piece.keys;
    for error in &piece.unreadable {
        check_replaced(cache, source, error)?;
        report.unreadable(error)?;
    }
    piece.faults.iter().try_for_each(|Fault { path, line, what }| report.fault(path, *line, what))
}

fn progress(shards: u64) -> ProgressBar {
    if shards < SHARDS_WITH_PROGRESS_MIN || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(shards);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {pos}/{len} shards, {eta} to go") {
        bar.set_style(style);
    }
    bar
}

/// The reader refuses what others could have written. This is about what others can read.
fn check_modes(folder: &Path, source: &Source, report: &mut Verification<'_>) -> Result<()> {
    let shard = source.shard_path(&Fingerprint::from_bytes([0; 32]));
    let generation = shard.parent().unwrap_or(folder);
    for path in [folder, &folder.join("HEAD"), generation] {
        if let Err(error) = pushkeys_files::check(path, Trust::OWNER.secret()) {
            report.fault(path, None, &ErrorReport::of(&error).to_string())?;
        }
    }
    Ok(())
}

/// HEAD's number of keys decides nothing. After syncd was killed it is behind the shards until the next change.
fn compare_count(cache: &Cache, source: &Source, keys: u64) {
    let head = source.head();
    let is_in_force = cache.source(source.name()).is_ok_and(|now| now.head() == head);
    if is_in_force && head.keys != keys {
        let (said, found) = (count(head.keys, "key", "keys"), count(keys, "key", "keys"));
        anstream::eprintln!("note: HEAD of source `{}` says {said}; its shards hold {found}", source.name());
    }
}
