//! `pushkeys show`: everything that is known about one key.

use std::io;
use std::path::PathBuf;

use anyhow::Result;
use pushkeys_cache::{Cache, Entry, ReadError, Revocation};
use pushkeys_keys::{ErrorReport, Fingerprint, Policy, SourceName, ValidKey};
use serde::Serialize;

use crate::context::{Context, Outcome, warn_of_stale};
use crate::hint;
use crate::output::{BAD, STRONG, write_hint, write_json};
use crate::record::{self, KeyRecord};

/// What a source has: the file that the key is in, or would be in, and its entry.
struct Found {
    file: PathBuf,
    entry: Option<Entry>,
    revocation: Option<Revocation>,
}

#[derive(Serialize)]
struct Shown<'a> {
    fingerprint: String,
    sources: Vec<ShownSource<'a>>,
}

#[derive(Serialize)]
struct ShownSource<'a> {
    source: &'a str,
    file: Option<String>,
    entry: Option<KeyRecord<'a>>,
    md5: Option<String>,
    bits: Option<u32>,
    line: Option<&'a str>,
    error: Option<ErrorReport>,
}

/// Writes what every source has for `fingerprint`.
pub(crate) fn run(context: &Context, fingerprint: Fingerprint, out: &mut dyn io::Write) -> Result<Outcome> {
    let (cache, names) = context.open()?;
    warn_of_stale(context, &cache, &names);
    let answers: Vec<_> = names.iter().map(|name| (name, find(&cache, name, &fingerprint))).collect();
    if context.json {
        let sources = answers.iter().map(|(name, answer)| shown(name, answer)).collect();
        write_json(out, &Shown { fingerprint: fingerprint.to_string(), sources })?;
    } else {
        writeln!(out, "{STRONG}{fingerprint}{STRONG:#}")?;
        for (name, answer) in &answers {
            write_source(out, name, answer)?;
        }
    }
    let is_found = answers.iter().any(|(_, answer)| matches!(answer, Ok(Found { entry: Some(_), .. })));
    Ok(Outcome::yes_if(is_found))
}

fn find(cache: &Cache, name: &SourceName, fingerprint: &Fingerprint) -> Result<Found, ReadError> {
    let source = cache.source(name)?;
    let file = source.shard_path(fingerprint);
    let (_, entry) = source.find(fingerprint)?;
    let revocations = cache.revocations()?;
    let revocation =
        entry.as_ref().and_then(|entry| revocations.of_key(fingerprint, &entry.account)).cloned();
    Ok(Found { file, entry, revocation })
}

fn write_source(
    out: &mut dyn io::Write,
    name: &SourceName,
    answer: &Result<Found, ReadError>,
) -> io::Result<()> {
    let (file, entry, revocation) = match answer {
        Ok(Found { file, entry: Some(entry), revocation }) => (file, entry, revocation),
        Ok(Found { entry: None, .. }) => return writeln!(out, "\nsource `{name}` does not have it"),
        Err(error) => {
            let report = hint::report(error);
            writeln!(out, "\n{BAD}source `{name}`: {}{BAD:#}", report.text())?;
            return write_hint(out, report.hint.as_deref());
        }
    };
    writeln!(out, "\nsource `{name}`")?;
    let mut row = |what: &str, value: &str| writeln!(out, "  {what:<9}{value}");
    row("account", &record::account(entry))?;
    row("key", &record::key(entry))?;
    row("logins", &record::logins(entry))?;
    match valid_key(entry) {
        Some(key) => {
            row("type", &format!("{}, {} bits", record::key_type(entry), key.bits()))?;
            row("MD5", &key.md5())?;
        }
        None => row("type", record::key_type(entry))?,
    }
    row("expires", record::expiry(entry).as_deref().unwrap_or("never"))?;
    if let Some(Revocation { what, since }) = revocation {
        row("revoked", &format!("on this host, by the {what}, at {since}"))?;
    }
    row("file", &file.display().to_string())?;
    row("line", entry.line.as_str())
}

fn shown<'a>(name: &'a SourceName, answer: &'a Result<Found, ReadError>) -> ShownSource<'a> {
    let found = answer.as_ref().ok();
    let entry = found.and_then(|found| found.entry.as_ref());
    let revocation = found.and_then(|found| found.revocation.as_ref());
    let key = entry.and_then(valid_key);
    ShownSource {
        source: name.as_str(),
        file: entry.and(found).map(|found| found.file.display().to_string()),
        entry: entry.map(|entry| KeyRecord::of(name, entry, revocation)),
        md5: key.as_ref().map(ValidKey::md5),
        bits: key.as_ref().map(ValidKey::bits),
        line: entry.map(|entry| entry.line.as_str()),
        error: answer.as_ref().err().map(|error| hint::report(error)),
    }
}

/// The key in the line of `entry`; `pushkeys verify` checks whether it is the right one.
fn valid_key(entry: &Entry) -> Option<ValidKey> {
    ValidKey::check(entry.line.public_key(), &Policy::default()).ok()
}
