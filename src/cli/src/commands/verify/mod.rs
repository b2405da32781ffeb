//! `pushkeys verify`: every file, line and key of the cache.
//!
//! Sources are read side by side, one range of fingerprints after the other, so that what two of them say of one key
//! is compared without holding more than a shard of each.

mod report;
mod source;

use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use cache::{Cache, Entry, Source};
use indicatif::{ProgressBar, ProgressStyle};
use keys::{Fingerprint, Policy, ValidKey};

use super::{Context, Outcome, chain, check_replaced};
use crate::output::count;
use report::Report;
pub(crate) use source::against_source;

/// Fewer shards are read before a bar could be looked at.
const SHARDS_WITH_PROGRESS_MIN: u64 = 256;

/// Whoever is neither the owner nor in the group of the cache may do nothing with it.
const OTHERS: u32 = 0o007;

/// Writes every fault of the cache, and how much was looked at.
pub(crate) fn run(context: &Context, out: &mut dyn io::Write) -> Result<Outcome> {
    let (cache, names) = context.open()?;
    let mut report = Report::new(out, context.json);
    let mut sources = Vec::new();
    for name in &names {
        report.sources += 1;
        match cache.source(name) {
            Ok(source) => {
                check_modes(&context.cache.join(name.as_str()), &source, &mut report)?;
                sources.push(Reading::new(source));
            }
            Err(error) => report.unreadable(&error)?,
        }
    }
    let bits = sources.iter().map(|reading| reading.source.head().bits).max().unwrap_or_default();
    let ranges = 1_u32 << bits;
    let progress = progress(ranges.into());
    let policy = Policy::default();
    for range in 0..ranges {
        for reading in &mut sources {
            progress.suspend(|| reading.advance(&cache, range, bits, &policy, &mut report))?;
        }
        progress.suspend(|| check_conflicts(&sources, range, bits, &mut report))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    for reading in &sources {
        reading.tell_of_count(&cache);
    }
    report.finish()
}

fn progress(ranges: u64) -> ProgressBar {
    if ranges < SHARDS_WITH_PROGRESS_MIN || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(ranges);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {pos}/{len} shards, {eta} to go") {
        bar.set_style(style);
    }
    bar
}

/// The reader has refused what others could have written; this is about what they could read.
fn check_modes(folder: &Path, source: &Source, report: &mut Report<'_>) -> Result<()> {
    let shard = source.shard_path(&Fingerprint::from_bytes([0; 32]));
    let generation = shard.parent().unwrap_or(folder);
    for path in [folder, &folder.join("HEAD"), generation] {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.mode() & OTHERS == 0 => {}
            Ok(metadata) => {
                let mode = metadata.mode() & 0o777;
                report.fault(path, None, &format!("its mode {mode:03o} lets everybody read it"))?;
            }
            Err(error) => report.fault(path, None, &chain(&error))?,
        }
    }
    Ok(())
}

/// A source, and the one shard of it that is being looked at.
struct Reading {
    source: Source,
    shard: Option<u32>,
    path: PathBuf,
    entries: Vec<(u64, Entry)>,
    keys: u64,
}

impl Reading {
    fn new(source: Source) -> Self {
        Self { source, shard: None, path: PathBuf::new(), entries: Vec::new(), keys: 0 }
    }

    /// Reads and checks the shard that holds the fingerprints which begin with the `bits` bits of `range`, unless it was
    /// read for the range before.
    fn advance(
        &mut self,
        cache: &Cache,
        range: u32,
        bits: u8,
        policy: &Policy,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let index = range >> bits.saturating_sub(self.source.head().bits);
        if self.shard == Some(index) {
            return Ok(());
        }
        let inspected = self.source.inspect_shard(index);
        report.shards += 1;
        if let Some(error) = &inspected.unreadable {
            check_replaced(cache, &self.source, error)?;
            report.unreadable(error)?;
        }
        for (line, damage) in &inspected.faults {
            report.fault(&inspected.path, Some(*line), &damage.to_string())?;
        }
        for (line, entry) in &inspected.entries {
            if let Err(what) = check_key(entry, policy) {
                report.fault(&inspected.path, Some(*line), &what)?;
            }
        }
        self.keys += inspected.entries.len() as u64;
        report.keys += inspected.entries.len() as u64;
        (self.shard, self.path, self.entries) = (Some(index), inspected.path, inspected.entries);
        Ok(())
    }

    /// HEAD's number of keys is for people. It lags behind its shards after syncd was killed, until the next change.
    fn tell_of_count(&self, cache: &Cache) {
        let head = self.source.head();
        let is_in_force = cache.source(self.source.name()).is_ok_and(|now| now.head() == head);
        if is_in_force && head.keys != self.keys {
            let (said, found) = (count(head.keys, "key", "keys"), count(self.keys, "key", "keys"));
            anstream::eprintln!(
                "note: HEAD of source `{}` says {said}; its shards hold {found}",
                self.source.name()
            );
        }
    }
}

/// Whether the line of `entry` gives sshd the key and the account that the entry is about.
fn check_key(entry: &Entry, policy: &Policy) -> Result<(), String> {
    let key = ValidKey::check(entry.line.public_key(), policy)
        .map_err(|refusal| format!("the key policy refuses the key: {}", chain(&refusal)))?;
    if key.fingerprint() != entry.fingerprint {
        return Err(format!("the key in the line is another one, {}", key.fingerprint()));
    }
    if entry.expires_at().is_err() {
        return Err("the expiry-time in the line cannot be read".to_owned());
    }
    let options = entry.line.as_str().strip_suffix(entry.line.public_key()).unwrap_or_default();
    if !options.contains(entry.account.as_str()) {
        return Err(format!("the command in the line does not name account `{}`", entry.account));
    }
    Ok(())
}

/// Compares what the sources say of each key whose fingerprint begins with the `bits` bits of `range`.
fn check_conflicts(sources: &[Reading], range: u32, bits: u8, report: &mut Report<'_>) -> Result<()> {
    if sources.len() < 2 {
        return Ok(());
    }
    let mut holders: HashMap<Fingerprint, (&Reading, &Entry)> = HashMap::new();
    for reading in sources {
        for (line, entry) in &reading.entries {
            if entry.fingerprint.leading_bits(bits) != range {
                continue;
            }
            let (first, holder) = *holders.entry(entry.fingerprint).or_insert((reading, entry));
            if holder.account != entry.account {
                let what = format!(
                    "source `{}` gives the key to account `{}`, and source `{}` to `{}`: it is refused",
                    first.source.name(),
                    holder.account,
                    reading.source.name(),
                    entry.account,
                );
                report.fault(&reading.path, Some(*line), &what)?;
            }
        }
    }
    Ok(())
}
