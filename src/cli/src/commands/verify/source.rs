//! `--against-source`: the cache compared with its sources. The daemon's own program compares them: only it reads tokens, validates
//! keys and renders lines, so this program cannot come to another result.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::commands::doctor::{SyncdOptions, daemon};
use crate::context::{Context, Outcome};
use crate::program::as_user;

/// The longest line of JSON that the daemon's program prints: two lines of the cache with names around them.
const LINE_BYTES_MAX: u64 = 128 * 1024;

/// Compares every source with its part of the cache, and writes each key that differs.
pub(crate) fn against_source(
    context: &Context,
    syncd: &SyncdOptions,
    out: &mut dyn io::Write,
) -> Result<Outcome> {
    let config = daemon::config(context, syncd.config.as_ref());
    let mut command = as_user(&daemon::user(context), &syncd.program);
    command.arg("--config").arg(&config).arg("compare");
    if context.json {
        command.arg("--json");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", syncd.program.display()))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            out.write_all(&line)?;
            line.clear();
        }
    }
    match child.wait()?.code() {
        Some(0) => Ok(Outcome::Yes),
        Some(1) => Ok(Outcome::No),
        _ => bail!("`{} compare` ended unexpectedly", syncd.program.display()),
    }
}
