//! `pushkeys accept`: confirms that removals that are held back may take effect.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write};

use anyhow::Result;
use pushkeys_cache::{Acceptance, Held};
use pushkeys_keys::{Hint, SourceName};
use serde::Serialize;
use thiserror::Error;

use crate::context::{Context, Outcome};
use crate::output::{count, distance, write_json};

/// How much of the answer is read; `yes` is the longest that counts.
const ANSWER_BYTES_MAX: u64 = 64;

/// The question needs an answer, and standard input is not a terminal.
#[derive(Debug, Error)]
#[error("this needs a confirmation, and standard input is not a terminal")]
pub(crate) struct NotATerminal(#[source] Hint);

#[derive(Serialize)]
struct AcceptAnswer<'a> {
    source: &'a str,
    held: Option<HeldRecord>,
    accepted: bool,
    accepted_until: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct HeldRecord {
    since: String,
    keys_in_force: u64,
    keys_offered: u64,
    removed: u64,
    added: u64,
}

impl From<&Held> for HeldRecord {
    fn from(held: &Held) -> Self {
        let Held { since, keys_in_force, keys_offered, removed, added } = *held;
        Self { since: since.to_string(), keys_in_force, keys_offered, removed, added }
    }
}

/// Accepts the removals of `source` that are held back; asks first unless `yes` is given.
pub(crate) fn run(context: &Context, source: &SourceName, yes: bool, out: &mut dyn Write) -> Result<Outcome> {
    let Some(held) = pushkeys_cache::held(&context.cache, source)? else {
        if context.json {
            write_answer(source, None, None, out)?;
        } else {
            writeln!(out, "nothing of source `{source}` is held back")?;
        }
        return Ok(Outcome::No);
    };
    anstream::eprint!("{}", describe(context, source, &held));
    if !yes && !ask(source, &held)? {
        if context.json {
            write_answer(source, Some(&held), None, out)?;
        } else {
            writeln!(out, "nothing was accepted; the keys in force stay as they are")?;
        }
        return Ok(Outcome::No);
    }
    let acceptance = pushkeys_cache::accept(&context.cache, source, &held, context.now)?;
    if context.json {
        write_answer(source, Some(&held), Some(&acceptance), out)?;
    } else {
        let Acceptance { removed_max, until } = acceptance;
        let removed = count(removed_max, "key", "keys");
        writeln!(out, "accepted until {until}: syncd removes no more than {removed}")?;
    }
    Ok(Outcome::Yes)
}

fn describe(context: &Context, source: &SourceName, held: &Held) -> String {
    let since = distance(held.since, context.now);
    let keys = |number| count(number, "key", "keys");
    format!(
        "What source `{source}` removes has been held back since {} ({since}).\n  \
         in force now     {}\n  at the source    {}\n  it removes       {}\n  it adds          {}\n",
        held.since,
        keys(held.keys_in_force),
        keys(held.keys_offered),
        keys(held.removed),
        keys(held.added),
    )
}

fn ask(source: &SourceName, held: &Held) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(NotATerminal(Hint::new(format!("pushkeys accept {source} --yes"))).into());
    }
    anstream::eprint!("Accept that {} lose access? [y/N] ", count(held.removed, "key", "keys"));
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn write_answer(
    source: &SourceName,
    held: Option<&Held>,
    acceptance: Option<&Acceptance>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let answer = AcceptAnswer {
        source: source.as_str(),
        held: held.map(HeldRecord::from),
        accepted: acceptance.is_some(),
        accepted_until: acceptance.map(|acceptance| acceptance.until.to_string()),
    };
    write_json(out, &answer)
}
