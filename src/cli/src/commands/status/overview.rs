//! What `pushkeys status` shows: each HEAD, what is revoked, and syncd's status.json.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use pushkeys_cache::status::{SourceStatus, Status, StatusError};
use pushkeys_cache::{Cache, Head, Held, ReadError, Revocations};
use pushkeys_keys::SourceName;

use crate::context::Context;

/// The name under which the kernel lists the daemon, which it cuts after 15 characters.
const DAEMON: &str = "pushkeys-syncd";

/// Everything that `pushkeys status` shows.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) now: Timestamp,
    pub(super) sources: Vec<SourceView>,
    /// What is revoked on this host.
    pub(super) revocations: Result<Revocations, ReadError>,
    pub(super) syncd: Result<Status, StatusError>,
    pub(super) is_syncd_running: bool,
}

/// One source, whether in force or only configured.
#[derive(Debug)]
pub(super) struct SourceView {
    pub(super) name: SourceName,
    pub(super) head: Result<Head, ReadError>,
    pub(super) held: Result<Option<Held>, ReadError>,
    pub(super) status: Option<SourceStatus>,
}

impl Overview {
    pub(super) fn gather(context: &Context) -> Result<Self, ReadError> {
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
    /// How many changes the cache is known to be behind, if the source numbers them.
    pub(super) fn lag(&self) -> Option<u64> {
        let cursor = self.head.as_ref().ok()?.cursor.as_deref()?;
        let sequence: u64 = cursor.rsplit_once('-')?.1.parse().ok()?;
        Some(self.status.as_ref()?.sequence_at_source?.saturating_sub(sequence))
    }
}

/// Whether the process `pid` is a syncd; a process id alone may be another program's by now.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == DAEMON)
}
