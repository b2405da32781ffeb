//! The faults, written as they are found.

use std::io;
use std::path::Path;

use anyhow::Result;
use pushkeys_cache::ReadError;
use pushkeys_files::Untrusted;
use pushkeys_keys::ErrorReport;
use serde::Serialize;

use crate::context::Outcome;
use crate::hint::HEAL;
use crate::output::{BAD, GOOD, count, write_hint, write_json_line};

/// What was checked so far, and where faults are written.
pub(super) struct Verification<'a> {
    out: &'a mut dyn io::Write,
    json: bool,
    pub(super) sources: u64,
    pub(super) shards: u64,
    pub(super) keys: u64,
    faults: u64,
}

#[derive(Serialize)]
struct FaultRecord<'a> {
    file: String,
    line: Option<u64>,
    what: &'a str,
}

#[derive(Serialize)]
struct Summary {
    sources: u64,
    shards: u64,
    keys: u64,
    faults: u64,
}

impl<'a> Verification<'a> {
    pub(super) fn new(out: &'a mut dyn io::Write, json: bool) -> Self {
        Self { out, json, sources: 0, shards: 0, keys: 0, faults: 0 }
    }

    /// Writes that `what` is wrong with `file`.
    pub(super) fn fault(&mut self, file: &Path, line: Option<u64>, what: &str) -> Result<()> {
        self.faults += 1;
        let file = file.display().to_string();
        if self.json {
            return Ok(write_json_line(self.out, &FaultRecord { file, line, what })?);
        }
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        Ok(writeln!(self.out, "{file}{line}: {BAD}{what}{BAD:#}")?)
    }

    /// Writes that a file could not be read at all.
    pub(super) fn unreadable(&mut self, error: &ReadError) -> Result<()> {
        let (ReadError::Missing(path)
        | ReadError::Io { path, .. }
        | ReadError::Unsafe(Untrusted { path, .. })
        | ReadError::Damaged { path, .. }
        | ReadError::Raced(path)) = error;
        self.fault(path, None, &ErrorReport::of(error).to_string())
    }

    /// Writes how much was checked, and gives the answer.
    pub(super) fn finish(self) -> Result<Outcome> {
        let Self { out, json, sources, shards, keys, faults } = self;
        if json {
            write_json_line(out, &Summary { sources, shards, keys, faults })?;
        } else {
            let checked = format!(
                "{} in {} of {}",
                count(keys, "key", "keys"),
                count(shards, "shard", "shards"),
                count(sources, "source", "sources"),
            );
            let (style, result) = match faults {
                0 => (GOOD, "no fault".to_owned()),
                _ => (BAD, count(faults, "fault", "faults")),
            };
            writeln!(out, "{checked}: {style}{result}{style:#}")?;
            if faults > 0 {
                write_hint(out, Some(HEAL))?;
            }
        }
        Ok(Outcome::yes_if(faults == 0))
    }
}
