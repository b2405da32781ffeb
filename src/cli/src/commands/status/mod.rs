//! `pushkeys status`: what is in force, since when, what is wrong, and what to do about it.
//!
//! What is in force is read from each HEAD, as the look-up reads it. What syncd says of itself explains it, and
//! is missing where syncd never ran.

#[cfg(test)]
mod fixture;
mod problem;
mod show;

use std::collections::BTreeMap;
use std::fs;
use std::io;

use anyhow::Result;
use jiff::Timestamp;
use pushkeys_cache::status::{SourceStatus, Status, StatusError};
use pushkeys_cache::{Cache, Head, Held, ReadError, Revocations};
use pushkeys_keys::SourceName;

use super::{Context, Outcome};
pub(crate) use problem::Problem;

/// The name under which the kernel lists the daemon, which it cuts after 15 characters.
const DAEMON: &str = "pushkeys-syncd";

/// Everything there is to tell.
#[derive(Debug)]
struct Overview {
    now: Timestamp,
    sources: Vec<SourceView>,
    /// What is revoked on this host.
    revocations: Result<Revocations, ReadError>,
    syncd: Result<Status, StatusError>,
    is_syncd_running: bool,
}

/// One source, in force or only configured.
#[derive(Debug)]
struct SourceView {
    name: SourceName,
    head: Result<Head, ReadError>,
    held: Result<Option<Held>, ReadError>,
    status: Option<SourceStatus>,
}

/// Writes the overview. The answer is yes when nothing is wrong.
pub(crate) fn run(context: &Context, out: &mut dyn io::Write) -> Result<Outcome> {
    let overview = Overview::gather(context)?;
    let problems = problem::all(&overview);
    if context.json {
        show::write_as_json(out, context, &overview, &problems)?;
    } else {
        show::write_as_text(out, &overview, &problems)?;
    }
    Ok(Outcome::yes_if(problems.is_empty()))
}

/// All that is wrong with the cache and its daemon.
pub(crate) fn problems(context: &Context) -> Result<Vec<Problem>, ReadError> {
    Ok(problem::all(&Overview::gather(context)?))
}

/// The sources and all that is wrong with them, as lines for a terminal.
pub(crate) fn lines(context: &Context) -> Result<Vec<String>> {
    let overview = Overview::gather(context)?;
    let mut text = Vec::new();
    show::write_as_text(&mut text, &overview, &problem::all(&overview))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

impl Overview {
    fn gather(context: &Context) -> Result<Self, ReadError> {
        let cache = Cache::open(&context.cache)?;
        let syncd = Status::read(&context.cache);
        let mut by_name: BTreeMap<SourceName, Option<SourceStatus>> =
            cache.sources()?.into_iter().map(|name| (name, None)).collect();
        for status in syncd.iter().flat_map(|status| &status.sources) {
            if let Ok(name) = status.name.parse() {
                by_name.insert(name, Some(status.clone()));
            }
        }
        let sources = by_name
            .into_iter()
            .map(|(name, status)| SourceView {
                head: cache.source(&name).map(|source| source.head().clone()),
                held: pushkeys_cache::held(&context.cache, &name),
                name,
                status,
            })
            .collect();
        let is_syncd_running = syncd.as_ref().is_ok_and(|status| is_running(status.pid));
        let revocations = cache.revocations();
        Ok(Self { now: context.now, sources, revocations, syncd, is_syncd_running })
    }
}

impl SourceView {
    /// How many changes the source is known to be ahead, where it numbers them.
    fn lag(&self) -> Option<u64> {
        let cursor = self.head.as_ref().ok()?.cursor.as_deref()?;
        let sequence: u64 = cursor.rsplit_once('-')?.1.parse().ok()?;
        Some(self.status.as_ref()?.sequence_at_source?.saturating_sub(sequence))
    }
}

/// Whether the process `pid` is a syncd; a process id alone may be another program's by now.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == DAEMON)
}
