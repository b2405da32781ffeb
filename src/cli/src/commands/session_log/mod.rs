//! `pushkeys log`: who did what on this host, as syncd has logged it.

mod files;
mod record;
mod since;

use std::io;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pushkeys_cache::{SESSION_LOG, SESSION_LOG_DAYS};
use pushkeys_keys::{ErrorReport, Fingerprint};

use self::files::Line;
use self::record::SessionRecord;
pub(crate) use self::since::SinceError;
use crate::context::{Context, Outcome};
use crate::key;
use crate::output::{FAINT, count, write_json_line};

/// Which records to show; a record must match every option.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Only from then on: a day (2026-11-23, monday, yesterday), a time (2026-11-23T16:54:00Z), or how long ago (36h, 14d);
    /// a day begins at midnight UTC
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only of the account with this id or name
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only of this key: the fingerprint, a .pub file, or the text of a key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only about this repository: the name that users type, or its path below the root
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Only what changed a branch, a tag or another reference
    #[arg(long)]
    pushes: bool,
}

/// Writes the records that match `options`, the oldest first. What could not be read is told on stderr, and makes the answer no.
pub(crate) fn run(context: &Context, options: &LogOptions, out: &mut dyn io::Write) -> Result<Outcome> {
    let filter = Filter::new(context, options)?;
    let folder = context.cache.join(SESSION_LOG);
    let days = files::days(&folder)?;
    let mut is_complete = true;
    for name in &days.unread {
        let path = folder.join(name);
        warn(&format!("`{}` is not a file of the log as syncd writes it, and was not read", path.display()));
        is_complete = false;
    }
    warn_if_forgotten(context, &filter);
    for date in days.dates {
        // The last moment of a day is before `since` if the next day begins at it or before.
        let next = date.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok());
        if next.is_some_and(|next| filter.since.is_some_and(|since| next.timestamp() <= since)) {
            continue;
        }
        let path = folder.join(date.to_string());
        let mut damaged = 0;
        let mut write_error = None;
        let read = files::read(&path, |line| {
            let record = if let Line::Whole(line) = line { SessionRecord::parse(line) } else { None };
            match record {
                Some(record) if filter.matches(&record) => {
                    write_error = write(context, &record, out).err();
                }
                Some(_) => {}
                None => damaged += 1,
            }
            write_error.is_none()
        });
        if let Some(error) = write_error {
            return Err(error.into());
        }
        if let Err(error) = read {
            warn(&ErrorReport::of(error.as_ref()).lines());
            is_complete = false;
        }
        if damaged > 0 {
            warn(&format!("`{}` has {}", path.display(), count(damaged, "damaged line", "damaged lines")));
            is_complete = false;
        }
    }
    Ok(Outcome::yes_if(is_complete))
}

fn warn(what: &str) {
    anstream::eprintln!("warning: {what}");
}

/// Says so if `filter` asks for days that syncd has removed.
fn warn_if_forgotten(context: &Context, filter: &Filter<'_>) {
    let today = context.now.to_zoned(TimeZone::UTC).date();
    let first = (1..SESSION_LOG_DAYS).try_fold(today, |day, _| day.yesterday()).ok();
    let first = first.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    if let (Some(first), Some(since)) = (first, filter.since)
        && since < first.timestamp()
    {
        warn(&format!("nothing from before {} is kept: the log holds {SESSION_LOG_DAYS} days", first.date()));
    }
}

/// What a record has to match.
struct Filter<'a> {
    options: &'a LogOptions,
    since: Option<Timestamp>,
    key: Option<Fingerprint>,
}

impl<'a> Filter<'a> {
    fn new(context: &Context, options: &'a LogOptions) -> Result<Self> {
        let since = options.since.as_deref().map(|text| since::parse(text, context.now)).transpose()?;
        let key = options.key.as_deref().map(key::fingerprint_of).transpose()?;
        Ok(Self { options, since, key })
    }

    fn matches(&self, record: &SessionRecord) -> bool {
        let LogOptions { account, repository, pushes, .. } = self.options;
        self.since.is_none_or(|since| record.at >= since)
            && (!pushes || record.is_push())
            && self.key.is_none_or(|key| record.fingerprint == key.to_text().as_str())
            && account.as_deref().is_none_or(|wanted| {
                record.account == wanted || record.account_name.as_deref() == Some(wanted)
            })
            && repository.as_deref().is_none_or(|wanted| record.is_about(wanted))
    }
}

fn write(context: &Context, record: &SessionRecord, out: &mut dyn io::Write) -> io::Result<()> {
    if context.json {
        return write_json_line(out, record);
    }
    let SessionRecord { at, account, account_name, key, key_name, address, .. } = record;
    let named = |id: &str, name: &Option<String>| match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_owned(),
    };
    let address = address.as_deref().map(|address| format!(" from {address}")).unwrap_or_default();
    let (account, key) = (named(account, account_name), named(key, key_name));
    let text = format!("{account} by key {key}{address}: {}", record.what());
    writeln!(out, "{FAINT}{at}{FAINT:#} {}", pushkeys_keys::escape(&text))
}
