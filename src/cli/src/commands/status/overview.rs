//! What `pushkeys status` shows: each HEAD, what is revoked, and syncd's status.json.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pushkeys_cache::status::{SourceStatus, Status, StatusError};
use pushkeys_cache::{Cache, Head, Held, ReadError, Revocations};
use pushkeys_keys::{ErrorReport, SourceName};

use super::outside::{FailedLookups, Process, Room, failed_lookups, is_written};
use crate::context::Context;

/// Everything that `pushkeys status` shows.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) now: Timestamp,
    /// The cache's folder.
    pub(super) folder: PathBuf,
    pub(super) sources: Vec<SourceView>,
    /// What is revoked on this host.
    pub(super) revocations: Result<Revocations, ReadError>,
    pub(super) syncd: Result<Status, StatusError>,
    pub(super) process: Process,
    pub(super) room: io::Result<Room>,
    /// Folders that are called like sources, and are none.
    pub(super) strangers: Vec<SourceName>,
    /// What lookups could not answer lately; absent if nothing asked for it.
    pub(super) lookups: Option<Result<Option<FailedLookups>, ErrorReport>>,
}

/// Whether what lookups answered is looked up in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lookups<'a> {
    /// In this file, or where the system's log is.
    Asked(Option<&'a Path>),
    NotAsked,
}

/// One source, whether in force or only configured.
#[derive(Debug)]
pub(super) struct SourceView {
    pub(super) name: SourceName,
    pub(super) head: Result<Head, ReadError>,
    pub(super) held: Result<Option<Held>, ReadError>,
    /// Whether some process writes it.
    pub(super) written: io::Result<bool>,
    pub(super) status: Option<SourceStatus>,
}

impl Overview {
    pub(super) fn gather(context: &Context, lookups: Lookups<'_>) -> Result<Self, ReadError> {
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
                written: is_written(&context.cache, &name),
                name,
                status,
            })
            .collect();
        let process = syncd.as_ref().map_or(Process::Gone, |status| Process::of(status.pid));
        let lookups = match lookups {
            Lookups::Asked(log) => Some(failed_lookups(log, context.now)),
            Lookups::NotAsked => None,
        };
        Ok(Self {
            now: context.now,
            folder: context.cache.clone(),
            sources,
            revocations: cache.revocations(),
            syncd,
            process,
            room: Room::of(&context.cache),
            strangers: cache.strangers()?,
            lookups,
        })
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
