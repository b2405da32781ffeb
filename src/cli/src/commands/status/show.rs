//! The overview as text and as JSON.

use std::io;

use jiff::Timestamp;
use pushkeys_cache::status::Status;
use pushkeys_keys::ErrorReport;
use serde::Serialize;

use super::outside::Process;
use super::overview::{Overview, SourceView};
use super::problem::{self, Problem};
use crate::commands::accept::HeldRecord;
use crate::context::Context;
use crate::hint;
use crate::output::{BAD, FAINT, GOOD, WARN, count, distance, with_commas, write_hint, write_json};
use crate::table::Table;

/// An `ETag` may be longer than a terminal is wide; JSON has all of it.
const CURSOR_SHOWN_CHARACTERS_MAX: usize = 24;

const HEADER: [&str; 9] =
    ["SOURCE", "KIND", "STATE", "SINCE", "KEYS", "GENERATION", "IN SYNC", "VALID UNTIL", "CURSOR, LAG"];

pub(super) fn write_as_text(
    out: &mut dyn io::Write,
    overview: &Overview,
    problems: &[Problem],
) -> io::Result<()> {
    if !overview.sources.is_empty() {
        let mut table = Table::new(HEADER);
        for source in &overview.sources {
            table.row(row(source, overview.now).each_ref().map(|cell| -> &dyn std::fmt::Display { cell }));
        }
        table.write(out)?;
        writeln!(out)?;
    }
    if let Ok(status) = &overview.syncd {
        let config = status.config.display();
        writeln!(
            out,
            "{FAINT}syncd {}, process {}, since {}, by `{config}`{FAINT:#}",
            pushkeys_keys::escape(&status.version),
            status.pid,
            pushkeys_keys::escape(&status.started_at)
        )?;
    }
    for source in &overview.sources {
        write_last_change(out, source, overview.now)?;
    }
    for Problem { source, what, hint } in problems {
        let of = source.as_ref().map(|source| format!("source `{source}`: ")).unwrap_or_default();
        writeln!(out, "{BAD}wrong:{BAD:#} {of}{what}")?;
        write_hint(out, Some(hint))?;
    }
    overview.sources.iter().try_for_each(|source| write_skipped(out, source))?;
    let unknown = problem::unknown(overview);
    for report in &unknown {
        writeln!(out, "{WARN}not known:{WARN:#} {}", report.text())?;
        write_hint(out, report.hint.as_deref())?;
    }
    if problems.is_empty() {
        let what = if unknown.is_empty() { "nothing is wrong" } else { "nothing else is wrong" };
        writeln!(out, "{GOOD}{what}{GOOD:#}")?;
    }
    Ok(())
}

fn row(source: &SourceView, now: Timestamp) -> [String; HEADER.len()] {
    let none = || "-".to_owned();
    let status = source.status.as_ref();
    let since = status.and_then(|status| status.since.parse().ok());
    let head = source.head.as_ref().ok();
    let cursor = head.and_then(|head| head.cursor.as_deref()).map_or_else(none, shortened);
    let lag = source.lag().map(|lag| format!(", {}", count(lag, "change", "changes"))).unwrap_or_default();
    [
        source.name.to_string(),
        status.map_or_else(none, |status| pushkeys_keys::escape(&status.kind).into_owned()),
        status.map_or_else(none, |status| status.state.as_str().to_owned()),
        since.map_or_else(none, |since: Timestamp| distance(since, now)),
        head.map_or_else(none, |head| with_commas(head.keys)),
        head.map_or_else(none, |head| head.generation.to_string()),
        head.map_or_else(none, |head| distance(head.stamps.synced_at, now)),
        head.map_or_else(none, |head| {
            let until = head.stamps.valid_until;
            until.map_or_else(|| "no limit".to_owned(), |until| format!("{until} ({})", distance(until, now)))
        }),
        format!("{cursor}{lag}"),
    ]
}

fn shortened(cursor: &str) -> String {
    let cursor = pushkeys_keys::escape(cursor);
    if cursor.chars().count() <= CURSOR_SHOWN_CHARACTERS_MAX {
        return cursor.into_owned();
    }
    cursor.chars().take(CURSOR_SHOWN_CHARACTERS_MAX).chain(['…']).collect()
}

fn write_last_change(out: &mut dyn io::Write, source: &SourceView, now: Timestamp) -> io::Result<()> {
    let Some(status) = &source.status else { return Ok(()) };
    let at = status.last_change_at.as_ref().and_then(|at| at.parse().ok());
    let Some(at) = at.map(|at| distance(at, now)) else { return Ok(()) };
    let what = status.last_change.as_ref().map(|what| format!(": {}", pushkeys_keys::escape(what)));
    let what = what.unwrap_or_default();
    writeln!(out, "{FAINT}source `{}`: last change {at}{what}{FAINT:#}", source.name)
}

/// The entries that were left out last, of which the number is a problem.
fn write_skipped(out: &mut dyn io::Write, source: &SourceView) -> io::Result<()> {
    let Some(skipped) = source.status.as_ref().map(|status| &status.skipped) else { return Ok(()) };
    if skipped.recent.len() < 2 {
        return Ok(());
    }
    writeln!(out, "source `{}`: left out last:", source.name)?;
    skipped.recent.iter().try_for_each(|reason| writeln!(out, "  {}", pushkeys_keys::escape(reason)))
}

#[derive(Serialize)]
struct OverviewRecord<'a> {
    ok: bool,
    cache: String,
    problems: &'a [Problem],
    /// What could not be asked.
    unknown: Vec<ErrorReport>,
    sources: Vec<SourceRecord<'a>>,
    syncd_running: bool,
    syncd: Option<&'a Status>,
    syncd_error: Option<ErrorReport>,
}

/// What is in force; what syncd reports about the source is in `syncd`.
#[derive(Serialize)]
struct SourceRecord<'a> {
    source: &'a str,
    generation: Option<u64>,
    keys: Option<u64>,
    cursor: Option<&'a str>,
    lag: Option<u64>,
    synced_at: Option<String>,
    valid_until: Option<String>,
    valid: bool,
    last_change_at: Option<&'a str>,
    last_change: Option<&'a str>,
    held: Option<HeldRecord>,
    error: Option<ErrorReport>,
}

pub(super) fn write_as_json(
    out: &mut dyn io::Write,
    context: &Context,
    overview: &Overview,
    problems: &[Problem],
) -> io::Result<()> {
    let record = OverviewRecord {
        ok: problems.is_empty(),
        cache: context.cache.display().to_string(),
        problems,
        unknown: problem::unknown(overview),
        sources: overview.sources.iter().map(|source| record_of(source, overview.now)).collect(),
        syncd_running: overview.process == Process::Runs || overview.process == Process::WaitsForDisk,
        syncd: overview.syncd.as_ref().ok(),
        syncd_error: overview.syncd.as_ref().err().map(|error| hint::report(error)),
    };
    write_json(out, &record)
}

fn record_of(source: &SourceView, now: Timestamp) -> SourceRecord<'_> {
    let (head, status) = (source.head.as_ref().ok(), source.status.as_ref());
    SourceRecord {
        source: source.name.as_str(),
        generation: head.map(|head| head.generation),
        keys: head.map(|head| head.keys),
        cursor: head.and_then(|head| head.cursor.as_deref()),
        lag: source.lag(),
        synced_at: head.map(|head| head.stamps.synced_at.to_string()),
        valid_until: head.and_then(|head| head.stamps.valid_until).map(|until| until.to_string()),
        valid: head.is_some_and(|head| head.is_valid_at(now)),
        last_change_at: status.and_then(|status| status.last_change_at.as_deref()),
        last_change: status.and_then(|status| status.last_change.as_deref()),
        held: source.held.as_ref().ok().and_then(Option::as_ref).map(HeldRecord::from),
        error: source.head.as_ref().err().map(|error| hint::report(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status::fixture::overview;

    #[test]
    fn the_text_shows_what_is_in_force() {
        let mut overview = overview();
        let status = overview.sources[0].status.as_mut().unwrap();
        status.skipped.count = 3;
        status.skipped.recent = vec!["key_9: a private key\u{1b}".into()];
        let problem =
            Problem { source: Some("api".into()), what: "it is wrong".into(), hint: "do this".into() };
        let mut text = Vec::new();
        write_as_text(&mut text, &overview, &[problem]).unwrap();
        let text = String::from_utf8(text).unwrap();
        insta::assert_snapshot!(anstream::adapter::strip_str(&text));
    }

    #[test]
    fn an_etag_is_shown_as_far_as_there_is_room() {
        assert_eq!(shortened("b1946ac9-4711"), "b1946ac9-4711");
        assert_eq!(shortened(&"x".repeat(24)), "x".repeat(24));
        assert_eq!(shortened(&"x".repeat(25)), format!("{}…", "x".repeat(24)));
    }
}
