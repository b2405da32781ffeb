//! From a question to the line on stdout, or to the reason why there is none.

use pushkeys_cache::{Cache, Consultation, Consulted, Entry, NoAnswer, ReadError, Source, Verdict};
use pushkeys_keys::{Fingerprint, Login};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::system;

/// Lines of a whole login are written in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Prints the answer to `arguments`.
pub(crate) fn give(arguments: &Arguments) -> Result<(), Failure> {
    let Some(login) = &arguments.login else { return Ok(()) };
    let asked = arguments.fingerprint;
    let failed = |why: NoAnswer| Failure::NoAnswer { asked, why };
    let cache = Cache::open(&arguments.cache).map_err(|error| failed(error.into()))?;
    match &asked {
        Some(fingerprint) => match one(&cache, login, fingerprint).map_err(failed)? {
            Some(entry) => write(&mut line_of(&entry)),
            None => Ok(()),
        },
        None => all(&cache, login),
    }
}

fn one(cache: &Cache, login: &Login, fingerprint: &Fingerprint) -> Result<Option<Entry>, NoAnswer> {
    match Verdict::of(cache.consult(fingerprint)?, login, system::now())? {
        Verdict::Known { entry, .. } => Ok(Some(entry)),
        Verdict::UnknownKey | Verdict::OtherLogin | Verdict::Revoked(_) => Ok(None),
    }
}

/// Prints the line of every key of `login`. Each is judged as if sshd had asked for it alone.
fn all(cache: &Cache, login: &Login) -> Result<(), Failure> {
    let failed = |why: NoAnswer| Failure::NoAnswer { asked: None, why };
    let read = |error: ReadError| failed(error.into());
    let names = cache.sources().map_err(read)?;
    let sources: Vec<Source> =
        names.iter().map(|name| cache.source(name)).collect::<Result<_, _>>().map_err(read)?;
    let revocations = cache.revocations().map_err(read)?;
    let now = system::now();
    let mut lines = Vec::with_capacity(2 * PIECE_BYTES);
    for source in &sources {
        for entry in source.entries() {
            let entry = entry.map_err(read)?;
            let is_only_source = sources.len() == 1;
            let consulted = if is_only_source {
                let (name, head) = (source.name().clone(), source.head().clone());
                Consultation {
                    fingerprint: entry.fingerprint,
                    sources: vec![Consulted { source: name, found: Ok((head, Some(entry))) }],
                    revocations: revocations.clone(),
                }
            } else {
                cache.consult(&entry.fingerprint).map_err(read)?
            };
            match Verdict::of(consulted, login, now).map_err(failed)? {
                Verdict::Known { source: first, entry } if first == *source.name() => {
                    lines.append(&mut line_of(&entry));
                }
                _ => {}
            }
            if lines.len() >= PIECE_BYTES {
                write(&mut lines)?;
            }
        }
    }
    write(&mut lines)
}

fn line_of(entry: &Entry) -> Vec<u8> {
    let mut line = Vec::with_capacity(1024);
    line.extend_from_slice(entry.line.as_str().as_bytes());
    line.push(b'\n');
    line
}

fn write(lines: &mut Vec<u8>) -> Result<(), Failure> {
    system::write_to_stdout(lines).map_err(Failure::Write)?;
    lines.clear();
    Ok(())
}
