//! `pushkeys list`: the keys, one line each, however many there are.

use std::io;
use std::ops::RangeInclusive;

use anyhow::Result;
use cache::{Entry, ReadError, Revocations, Source};
use jiff::{SignedDuration, Timestamp};
use keys::SourceName;

use super::{Context, Outcome, chain, check_replaced};
use crate::arguments::ListFilter;
use crate::hint;
use crate::output::{count, write_json_line, write_table};
use crate::record::{self, Record};

/// Columns are aligned over so many rows, and then anew: ten million keys must not be held to align them.
const ROWS_ALIGNED_MAX: usize = 1000;

const HEADER: [&str; 7] = ["LOGIN", "ACCOUNT", "NAME", "TYPE", "FINGERPRINT", "SOURCE", "EXPIRES"];

/// Writes the keys that match `filter`, and tells on stderr what could not be read.
pub(crate) fn run(context: &Context, filter: &ListFilter, out: &mut dyn io::Write) -> Result<Outcome> {
    let (cache, mut names) = context.open()?;
    if let Some(wanted) = &filter.source {
        // Whether there is such a source is told by opening it.
        names = vec![wanted.clone()];
    }
    let revocations = cache.revocations()?;
    let mut printer = Printer { context, revocations, out, rows: Vec::new() };
    let mut outcome = Outcome::Yes;
    for name in names {
        match cache.source(&name) {
            Ok(source) => {
                if list_source(&cache, &source, filter, &mut printer)? > 0 {
                    outcome = Outcome::No;
                }
            }
            Err(error) => {
                complain(&error);
                outcome = Outcome::No;
            }
        }
    }
    printer.write_rows()?;
    Ok(outcome)
}

/// Lists one source, and gives the number of faults in it.
fn list_source(
    cache: &cache::Cache,
    source: &Source,
    filter: &ListFilter,
    printer: &mut Printer<'_>,
) -> Result<u64> {
    let mut faults = 0;
    for index in shards(source, filter) {
        let report = source.inspect_shard(index);
        if let Some(error) = &report.unreadable {
            check_replaced(cache, source, error)?;
            complain(error);
        }
        faults += report.faults.len() as u64 + u64::from(report.unreadable.is_some());
        for (_, entry) in
            report.entries.iter().filter(|(_, entry)| matches(filter, entry, printer.context.now))
        {
            printer.print(source.name(), entry)?;
        }
    }
    if faults > 0 {
        let faults = count(faults, "fault", "faults");
        anstream::eprintln!("warning: source `{}` has {faults}\nhint: pushkeys verify", source.name());
    }
    Ok(faults)
}

fn complain(error: &ReadError) {
    anstream::eprintln!("warning: {}\nhint: {}", chain(error), hint::of_read(error));
}

fn shards(source: &Source, filter: &ListFilter) -> RangeInclusive<u32> {
    let last = source.shard_count().saturating_sub(1);
    filter.fingerprint.as_ref().map_or(0..=last, |prefix| prefix.shards(source.head().bits))
}

fn matches(filter: &ListFilter, entry: &Entry, now: Timestamp) -> bool {
    filter.account.as_ref().is_none_or(|account| entry.account == *account)
        && filter.login.as_ref().is_none_or(|login| entry.opens(login))
        && filter.fingerprint.as_ref().is_none_or(|prefix| prefix.matches(&entry.fingerprint))
        && filter.name.as_ref().is_none_or(|text| is_named(entry, text))
        && last_expiry(filter, now).is_none_or(|last| expires_by(entry, last))
}

fn is_named(entry: &Entry, text: &str) -> bool {
    let text = text.to_lowercase();
    let mut names = [&entry.key_name, &entry.account_name].into_iter().flatten();
    names.any(|name| name.as_str().to_lowercase().contains(&text))
}

/// The last instant by which a key that is asked for expires.
fn last_expiry(filter: &ListFilter, now: Timestamp) -> Option<Timestamp> {
    let within = filter.expires_within.or_else(|| filter.expired.then_some(SignedDuration::ZERO))?;
    Some(now.saturating_add(within).unwrap_or(Timestamp::MAX))
}

/// A key whose expiry cannot be read is refused by sshd, as one that has expired.
fn expires_by(entry: &Entry, last: Timestamp) -> bool {
    entry.expires_at().map_or(true, |at| at.is_some_and(|at| at <= last))
}

struct Printer<'a> {
    context: &'a Context,
    revocations: Revocations,
    out: &'a mut dyn io::Write,
    /// At most [`ROWS_ALIGNED_MAX`].
    rows: Vec<[String; HEADER.len()]>,
}

impl Printer<'_> {
    fn print(&mut self, source: &SourceName, entry: &Entry) -> io::Result<()> {
        if self.context.json {
            let revocation = self.revocations.of_key(&entry.fingerprint, &entry.account);
            return write_json_line(self.out, &Record::of(source, entry, revocation));
        }
        if self.rows.len() >= ROWS_ALIGNED_MAX {
            self.write_rows()?;
        }
        self.rows.push([
            record::logins(entry),
            record::account(entry),
            entry.key_name.as_ref().map_or_else(|| entry.key_id.to_string(), ToString::to_string),
            record::key_type(entry).to_owned(),
            entry.fingerprint.to_string(),
            source.to_string(),
            self.expires(entry),
        ]);
        Ok(())
    }

    fn expires(&self, entry: &Entry) -> String {
        if self.revocations.of_key(&entry.fingerprint, &entry.account).is_some() {
            return "revoked on this host".to_owned();
        }
        let is_expired = entry.expires_at().is_ok_and(|at| at.is_some_and(|at| at <= self.context.now));
        match record::expiry(entry) {
            Some(time) if is_expired => format!("{time} (expired)"),
            Some(time) => time,
            None => "never".to_owned(),
        }
    }

    fn write_rows(&mut self) -> io::Result<()> {
        if !self.rows.is_empty() {
            write_table(self.out, HEADER, &self.rows)?;
            self.rows.clear();
        }
        Ok(())
    }
}
