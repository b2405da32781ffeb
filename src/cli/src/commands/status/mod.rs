//! `pushkeys status`: what is in force, since when, what is wrong, and what to do about it.
//!
//! What is in force is read from each HEAD, as the lookup reads it. status.json, which syncd writes, explains it; it is missing
//! where syncd has never run. A daemon that hangs or cannot write says nothing of it, so the system is asked too. What could not be
//! asked is told apart from what is right.

#[cfg(test)]
mod fixture;
mod outside;
mod overview;
mod problem;
mod show;
#[cfg(test)]
mod states;

use std::io;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pushkeys_cache::ReadError;

use crate::context::{Context, Outcome};
pub(crate) use overview::Lookups;
use overview::Overview;
pub(crate) use problem::Problem;

/// The options of `pushkeys status`.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Read from this file what lookups could not answer [default: the journal, or else the file of syslog]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Writes the overview. The answer is yes if nothing is wrong.
pub(crate) fn run(context: &Context, options: &StatusOptions, out: &mut dyn io::Write) -> Result<Outcome> {
    let overview = Overview::gather(context, Lookups::Asked(options.log.as_deref()))?;
    let problems = problem::all(&overview);
    if context.json {
        show::write_as_json(out, context, &overview, &problems)?;
    } else {
        show::write_as_text(out, &overview, &problems)?;
    }
    Ok(Outcome::yes_if(problems.is_empty()))
}

/// Everything that is wrong with the cache and its daemon.
pub(crate) fn problems(context: &Context, lookups: Lookups<'_>) -> Result<Vec<Problem>, ReadError> {
    Ok(problem::all(&Overview::gather(context, lookups)?))
}

/// The sources and everything that is wrong with them, as lines for a terminal.
pub(crate) fn lines(context: &Context) -> Result<Vec<String>> {
    let overview = Overview::gather(context, Lookups::NotAsked)?;
    let mut text = Vec::new();
    show::write_as_text(&mut text, &overview, &problem::all(&overview))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
