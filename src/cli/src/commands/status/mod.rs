//! `pushkeys status`: what is in force, since when, what is wrong, and what to do about it.
//!
//! What is in force is read from each HEAD, as the lookup reads it. status.json, which syncd writes, explains it; it is missing
//! where syncd has never run.

#[cfg(test)]
mod fixture;
mod overview;
mod problem;
mod show;

use std::io;

use anyhow::Result;
use pushkeys_cache::ReadError;

use crate::context::{Context, Outcome};
use overview::Overview;
pub(crate) use problem::Problem;

/// Writes the overview. The answer is yes if nothing is wrong.
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

/// Everything that is wrong with the cache and its daemon.
pub(crate) fn problems(context: &Context) -> Result<Vec<Problem>, ReadError> {
    Ok(problem::all(&Overview::gather(context)?))
}

/// The sources and everything that is wrong with them, as lines for a terminal.
pub(crate) fn lines(context: &Context) -> Result<Vec<String>> {
    let overview = Overview::gather(context)?;
    let mut text = Vec::new();
    show::write_as_text(&mut text, &overview, &problem::all(&overview))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
