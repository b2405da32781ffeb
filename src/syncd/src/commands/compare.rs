//! The cache compared with its sources, key by key. Nothing is changed.
//!
//! Snapshot and shards are both in the order of the fingerprints, so they are merged with one shard in memory. Changes go on
//! meanwhile: what differs is compared a second time, and printed only if it differs in the same way.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::iter::Peekable;
use std::path::Path;
use std::process::ExitCode;

use pushkeys_cache::{Cache, Entries, Entry, ReadError, Source};
use pushkeys_feed::SnapshotLine;
use pushkeys_keys::{ErrorReport, Fingerprint};
use serde::Serialize;
use thiserror::Error;

use crate::config::{Config, SourceKind, SourceSettings};
use crate::remote::http::Body;
use crate::source::error::SyncError;
use crate::source::key_files;
use crate::source::requests::{SNAPSHOT_BOUNDS, snapshot_of};
use crate::source::snapshot_lines::SnapshotLines;
use crate::validate::Validator;

/// Up to this number of differences of a source are compared twice and printed; of more, the number says enough.
const DIFFERENCES_MAX: usize = 10_000;

/// How many entries are validated together, which takes less time.
const VALIDATED_TOGETHER: usize = 1024;

/// One key of which source and host do not say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Difference {
    source: String,
    fingerprint: String,
    /// What the cache would hold if it were in sync.
    expected: Option<Side>,
    found: Option<Side>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Side {
    account: String,
    key_id: String,
    logins: Vec<String>,
    line: String,
}

#[derive(Debug, Error)]
enum CompareError {
    #[error(transparent)]
    Source(#[from] SyncError),
    #[error("the cache cannot be read")]
    Cache(#[from] ReadError),
}

/// What was found at one source.
#[derive(Debug, Default, Serialize)]
struct Summary {
    source: String,
    compared: u64,
    /// Keys of the source that no host may take.
    left_out: u64,
    differences: u64,
    /// Whether there were too many to compare them twice: some may only have been on their way.
    unconfirmed: bool,
    problem: Option<ErrorReport>,
}

/// Compares every source, and prints each difference as it is confirmed.
pub(super) async fn run(config: &Config, json: bool) -> ExitCode {
    let mut is_same = true;
    for settings in &config.sources {
        let (differences, summary) = match compare_source(config, settings).await {
            Ok(result) => result,
            Err(error) => {
                let problem = Some(ErrorReport::of(&error));
                (Vec::new(), Summary { source: settings.name.to_string(), problem, ..Summary::default() })
            }
        };
        is_same &= summary.differences == 0 && summary.problem.is_none();
        // A closed pipe is the reader's decision.
        let _ = print(&differences, &summary, json);
    }
    if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn compare_source(
    config: &Config,
    settings: &SourceSettings,
) -> Result<(Vec<Difference>, Summary), CompareError> {
    let mut comparison = Comparison::run(config, settings).await?;
    if (1..=DIFFERENCES_MAX as u64).contains(&comparison.count) {
        let again = Comparison::run(config, settings).await?;
        comparison.differences.retain(|fingerprint, difference| {
            again.differences.get(fingerprint).is_some_and(|other| other == difference)
        });
        comparison.count = comparison.differences.len() as u64;
    }
    let summary = Summary {
        source: settings.name.to_string(),
        compared: comparison.compared,
        left_out: comparison.left_out,
        differences: comparison.count,
        unconfirmed: comparison.count > DIFFERENCES_MAX as u64,
        problem: None,
    };
    Ok((comparison.differences.into_values().collect(), summary))
}

/// One pass over a source and its part of the cache.
struct Comparison<'a> {
    settings: &'a SourceSettings,
    validator: Validator,
    /// Fewer than [`VALIDATED_TOGETHER`].
    waiting: Vec<pushkeys_feed::Entry>,
    entries: Peekable<Entries<Source>>,
    compared: u64,
    left_out: u64,
    count: u64,
    /// At most [`DIFFERENCES_MAX`].
    differences: BTreeMap<Fingerprint, Difference>,
}

impl<'a> Comparison<'a> {
    async fn run(config: &Config, settings: &'a SourceSettings) -> Result<Self, CompareError> {
        // The snapshot is asked for first: what the cache holds is then rather ahead of it than behind.
        let body = match snapshot_of(settings) {
            Some(request) => Some(request.send(Some(SNAPSHOT_BOUNDS)).await.map_err(SyncError::from)?),
            None => None,
        };
        let source = Cache::open(&config.cache)?.source(&settings.name)?;
        let mut comparison = Self {
            settings,
            validator: Validator::of(settings),
            entries: source.into_entries().peekable(),
            waiting: Vec::new(),
            compared: 0,
            left_out: 0,
            count: 0,
            differences: BTreeMap::new(),
        };
        if let Some(mut body) = body {
            comparison.snapshot(&mut body).await?;
        } else if let SourceKind::Directory { path } = &settings.kind {
            comparison.key_files(path, &config.cache)?;
        }
        comparison.surplus(None)?;
        Ok(comparison)
    }

    async fn snapshot(&mut self, body: &mut Body) -> Result<(), CompareError> {
        let mut lines = SnapshotLines::of(body);
        while let Some(line) = lines.next().await? {
            self.line(line)?;
        }
        lines.finish()?;
        self.validate_waiting()
    }

    fn key_files(&mut self, folder: &Path, cache: &Path) -> Result<(), CompareError> {
        let name = &self.settings.name;
        let in_force = |accounts: &_| key_files::in_force(cache, name, accounts);
        let keys = key_files::read(folder, &self.validator, in_force).map_err(SyncError::from)?;
        self.left_out += keys.skipped.len() as u64;
        keys.entries.iter().try_for_each(|entry| self.compare(entry.fingerprint, Some(entry)))
    }

    fn line(&mut self, line: SnapshotLine) -> Result<(), CompareError> {
        let SnapshotLine::Entry(entry) = line else {
            self.left_out += u64::from(matches!(line, SnapshotLine::Malformed(_)));
            return Ok(());
        };
        self.waiting.push(entry);
        if self.waiting.len() >= VALIDATED_TOGETHER { self.validate_waiting() } else { Ok(()) }
    }

    fn validate_waiting(&mut self) -> Result<(), CompareError> {
        let waiting = std::mem::take(&mut self.waiting);
        let fingerprints: Vec<Fingerprint> = waiting.iter().map(|entry| entry.fingerprint).collect();
        let validated = self.validator.entries(waiting);
        fingerprints
            .into_iter()
            .zip(validated)
            .try_for_each(|(fingerprint, expected)| self.compare(fingerprint, expected.ok().as_ref()))
    }

    /// Compares the next key of the source, of which the cache should hold `expected`.
    fn compare(&mut self, fingerprint: Fingerprint, expected: Option<&Entry>) -> Result<(), CompareError> {
        self.surplus(Some(fingerprint))?;
        let found =
            self.entries.next_if(|next| next.as_ref().is_ok_and(|next| next.fingerprint == fingerprint));
        let found = found.transpose()?;
        self.compared += 1;
        self.left_out += u64::from(expected.is_none());
        if expected != found.as_ref() {
            self.differs(fingerprint, expected, found.as_ref());
        }
        Ok(())
    }

    /// The keys of the cache below `end` that the source did not name.
    fn surplus(&mut self, end: Option<Fingerprint>) -> Result<(), CompareError> {
        let is_below = |next: &Result<Entry, ReadError>| {
            next.as_ref().map_or(true, |next| end.is_none_or(|end| next.fingerprint < end))
        };
        while let Some(next) = self.entries.next_if(is_below) {
            let next = next?;
            self.compared += 1;
            self.differs(next.fingerprint, None, Some(&next));
        }
        Ok(())
    }

    fn differs(&mut self, fingerprint: Fingerprint, expected: Option<&Entry>, found: Option<&Entry>) {
        self.count += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            let difference = Difference {
                source: self.settings.name.to_string(),
                fingerprint: fingerprint.to_string(),
                expected: expected.map(Side::of),
                found: found.map(Side::of),
            };
            self.differences.insert(fingerprint, difference);
        }
    }
}

impl Side {
    fn of(entry: &Entry) -> Self {
        Self {
            account: entry.account.to_string(),
            key_id: entry.key_id.to_string(),
            logins: entry.logins.iter().map(ToString::to_string).collect(),
            line: entry.line.to_string(),
        }
    }
}

fn print(differences: &[Difference], summary: &Summary, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for difference in differences {
            serde_json::to_writer(&mut out, difference)?;
            writeln!(out)?;
        }
        serde_json::to_writer(&mut out, summary)?;
        return writeln!(out);
    }
    for Difference { source, fingerprint, expected, found } in differences {
        let what = match (expected, found) {
            (Some(_), None) => "the source has it, and this host does not",
            (None, Some(_)) => "this host has it, and the source does not, or no host may take it",
            _ => "source and host say different things of it",
        };
        writeln!(out, "{source}: {fingerprint}: {what}")?;
    }
    let Summary { source, compared, left_out, differences, unconfirmed, problem } = summary;
    if let Some(problem) = problem {
        return writeln!(out, "{source}: {problem}");
    }
    let doubt = if *unconfirmed { ", of which some may only be on their way" } else { "" };
    writeln!(out, "{source}: {compared} keys compared, {left_out} left out: {differences} differences{doubt}")
}
