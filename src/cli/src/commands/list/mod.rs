//! `pushkeys list`: the keys, one line each, however many there are.

mod filter;
mod query;

use std::io;
use std::ops::Range;

use anyhow::Result;
use jiff::Timestamp;
use pushkeys_cache::{Entry, ReadError, Revocations, Source};
use pushkeys_keys::{ErrorReport, SourceName};

use crate::account::is_unknown;
use crate::context::{Context, Outcome, check_replaced, warn_of_stale};
use crate::hint;
use crate::output::{count, write_json_line};
use crate::record::{self, KeyRecord};
use crate::shards::in_order;
use crate::table::Table;
pub(crate) use filter::ListFilter;
use query::Query;

/// Columns are aligned over this many rows at a time: ten million keys must not be held in memory to align them.
const ROWS_ALIGNED_MAX: usize = 1000;

const HEADER: [&str; 7] = ["LOGIN", "ACCOUNT", "NAME", "TYPE", "FINGERPRINT", "SOURCE", "EXPIRES"];

/// Writes the keys that match `filter`, and warns on stderr about what could not be read.
pub(crate) fn run(context: &Context, filter: &ListFilter, out: &mut dyn io::Write) -> Result<Outcome> {
    let (cache, mut names) = context.open()?;
    if let Some(wanted) = &filter.source {
        // If there is no such source, opening it says so.
        names = vec![wanted.clone()];
    }
    warn_of_stale(context, &cache, &names);
    let revocations = cache.revocations()?;
    let display = Display { json: context.json, now: context.now, revocations: &revocations };
    let query = Query::new(filter, context.now);
    let mut outcome = Outcome::Yes;
    let mut rows = Table::new(HEADER);
    for name in names {
        match cache.source(&name) {
            Ok(source) => {
                let shards = shards(&source, filter);
                if list_source(&cache, &source, shards, &query, &display, &mut rows, out)? > 0 {
                    outcome = Outcome::No;
                }
            }
            Err(error) => {
                warn(&error);
                outcome = Outcome::No;
            }
        }
    }
    write_rows(&mut rows, out)?;
    let Some(account) = query.missing_account() else { return Ok(outcome) };
    // Another source may have it, or other shards, or a part of the cache that cannot be read.
    match account.resolve(&cache, &cache.sources()?) {
        Err(error) if is_unknown(&error) => Err(error),
        _ => Ok(outcome),
    }
}

/// Lists `shards` of one source, and gives the number of faults in them.
fn list_source(
    cache: &pushkeys_cache::Cache,
    source: &Source,
    shards: Range<u32>,
    query: &Query<'_>,
    display: &Display<'_>,
    rows: &mut Table<{ HEADER.len() }>,
    out: &mut dyn io::Write,
) -> Result<u64> {
    let start = || {
        let mut buffer = Vec::new();
        move |shards| list_piece(source, shards, query, display, &mut buffer)
    };
    let mut faults = 0;
    in_order(shards, start, |listed| {
        for error in &listed.unreadable {
            check_replaced(cache, source, error)?;
            warn(error);
        }
        faults += listed.faults;
        out.write_all(&listed.json)?;
        rows.append(&listed.rows);
        if rows.rows() >= ROWS_ALIGNED_MAX {
            write_rows(rows, out)?;
        }
        Ok(())
    })?;
    if faults > 0 {
        let faults = count(faults, "fault", "faults");
        let what = format!("source `{}` has {faults}", source.name());
        anstream::eprintln!("warning: {}", ErrorReport::hinted(&what, "pushkeys verify").lines());
    }
    Ok(faults)
}

fn write_rows(rows: &mut Table<{ HEADER.len() }>, out: &mut dyn io::Write) -> io::Result<()> {
    if rows.rows() > 0 {
        rows.write(out)?;
        rows.clear();
    }
    Ok(())
}

fn warn(error: &ReadError) {
    anstream::eprintln!("warning: {}", hint::report(error).lines());
}

fn shards(source: &Source, filter: &ListFilter) -> Range<u32> {
    let all = 0..source.shard_count();
    filter.fingerprint.as_ref().map_or(all, |prefix| prefix.shards(source.head().bits))
}

/// How keys are shown.
struct Display<'a> {
    json: bool,
    now: Timestamp,
    revocations: &'a Revocations,
}

/// The keys of some shards that match, as they are shown, and what is wrong with the shards.
struct Listed {
    json: Vec<u8>,
    rows: Table<{ HEADER.len() }>,
    faults: u64,
    unreadable: Vec<ReadError>,
}

fn list_piece(
    source: &Source,
    shards: Range<u32>,
    query: &Query<'_>,
    display: &Display<'_>,
    buffer: &mut Vec<u8>,
) -> Listed {
    let mut listed = Listed { json: Vec::new(), rows: Table::new(HEADER), faults: 0, unreadable: Vec::new() };
    for index in shards {
        let report = source.scan_shard(index, buffer, |_, line| {
            if query.matches(line) {
                listed.add(source.name(), &line.entry()?, display);
            }
            Ok(())
        });
        listed.faults += report.faults.len() as u64 + u64::from(report.unreadable.is_some());
        listed.unreadable.extend(report.unreadable);
    }
    listed
}

impl Listed {
    fn add(&mut self, source: &SourceName, entry: &Entry, display: &Display<'_>) {
        let revocation = display.revocations.of_key(&entry.fingerprint, &entry.account);
        if display.json {
            // Writing to memory cannot fail.
            let _ = write_json_line(&mut self.json, &KeyRecord::of(source, entry, revocation));
            return;
        }
        let name = entry.key_name.as_ref().map_or(entry.key_id.as_str(), pushkeys_keys::Name::as_str);
        let expires = if revocation.is_some() {
            "revoked on this host".to_owned()
        } else {
            expires(entry, display.now)
        };
        self.rows.row([
            &record::logins(entry),
            &record::account(entry),
            &name,
            &record::key_type(entry),
            &entry.fingerprint.to_text().as_str(),
            source,
            &expires,
        ]);
    }
}

fn expires(entry: &Entry, now: Timestamp) -> String {
    let is_expired = entry.expires_at().is_ok_and(|at| at.is_some_and(|at| at.is_past(now)));
    match record::expiry(entry) {
        Some(time) if is_expired => format!("{time} (expired)"),
        Some(time) => time,
        None => "never".to_owned(),
    }
}
