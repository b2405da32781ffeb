//! What every command is given, and how it answers.

use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use pushkeys_cache::{Cache, ReadError, Source};
use pushkeys_keys::{ErrorReport, Hint, SourceName};
use thiserror::Error;

use crate::output::distance;

/// What every command is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) cache: PathBuf,
    pub(crate) now: Timestamp,
    pub(crate) json: bool,
}

/// The answer, as the exit status gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Yes,
    No,
    /// Nothing is wrong now, but something may go wrong.
    Doubtful,
}

impl Outcome {
    pub(crate) fn yes_if(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Context {
    /// The cache, and the names of its sources, of which there is at least one.
    pub(crate) fn open(&self) -> Result<(Cache, Vec<SourceName>), ReadError> {
        let cache = Cache::open(&self.cache)?;
        let names = cache.sources()?;
        if names.is_empty() {
            Err(ReadError::Missing(self.cache.join("<source>/HEAD")))
        } else {
            Ok((cache, names))
        }
    }
}

/// Says on stderr which of `sources` lookups refuse to answer from: what is shown of them opens nothing now.
pub(crate) fn warn_of_stale(context: &Context, cache: &Cache, sources: &[SourceName]) {
    for source in sources.iter().filter_map(|name| cache.source(name).ok()) {
        let until = source.head().stamps.valid_until.filter(|_| !source.head().is_valid_at(context.now));
        if let Some(until) = until {
            let ago = distance(until, context.now);
            let what = format!(
                "source `{}` was valid until {until} ({ago}), so lookups refuse every key of it",
                source.name()
            );
            anstream::eprintln!("warning: {}", ErrorReport::hinted(&what, "pushkeys status").lines());
        }
    }
}

/// A full sync has put another generation in force and removed the one that was being read.
#[derive(Debug, Error)]
#[error("source `{source_name}` was replaced while it was being read")]
pub(crate) struct Replaced {
    source_name: SourceName,
    #[source]
    hint: Hint,
}

/// Whether `error`, met in a shard of `source`, only means that another generation is in force by now.
pub(crate) fn check_replaced(cache: &Cache, source: &Source, error: &ReadError) -> Result<(), Replaced> {
    let generation = source.head().generation;
    let is_replaced = matches!(error, ReadError::Missing(_))
        && cache.source(source.name()).is_ok_and(|newer| newer.head().generation != generation);
    if is_replaced {
        Err(Replaced { source_name: source.name().clone(), hint: Hint::new("run it again") })
    } else {
        Ok(())
    }
}
