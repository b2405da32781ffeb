//! `pushkeys`: the sysadmin's tool on a push host.
//!
//! It owns how the cache is shown. It decides nothing: what sshd is told is decided in pushkeys-cache, for this program as for the
//! lookup. It opens no socket (pushkeys-syncd's own program speaks to the sources), and it writes two files of the cache, both on an
//! operator's command: the acceptance of a held-back snapshot, and the list of revoked keys. `pushkeys sshd` makes or removes a link
//! in sshd's configuration.
//!
//! Data goes to stdout and everything else to stderr. Exit status: 0 is yes, 1 is no, 2 is misuse; 3 is `doctor` with warnings only.

#![forbid(unsafe_code)]

mod account;
mod accounts;
mod arguments;
mod commands;
mod context;
mod hint;
mod key;
mod log;
mod output;
mod prefix;
mod program;
mod record;
mod shards;
mod sshd;
mod table;
mod terminal;

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;

use arguments::{Arguments, Command};
use commands::revoke::RevokeOptions;
use commands::{accept, doctor, explain, list, revoke, session_log, show, status, top, verify};
use context::{Context, Outcome};
use key::KeyArgumentError;
use output::BAD;
use pushkeys_cache::Revoked;

fn main() -> ExitCode {
    let Arguments { cache, json, command } = Arguments::parse();
    let context = Context { cache, now: Timestamp::now(), json };
    let mut out = BufWriter::new(anstream::stdout());
    let result = run(&context, command, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match result {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Ok(Outcome::Doubtful) => ExitCode::from(3),
        Err(error) => {
            // What was found before the error is still worth reading. If this fails too, there is nowhere to say so.
            let _ = out.flush();
            report(&error)
        }
    }
}

fn run(context: &Context, command: Command, out: &mut dyn io::Write) -> Result<Outcome> {
    match command {
        Command::Status(options) => status::run(context, &options, out),
        Command::List(filter) => list::run(context, &filter, out),
        Command::Show { key } => show::run(context, key::fingerprint_of(&key)?, out),
        Command::Explain { login, key, log } => {
            explain::run(context, &login, key::fingerprint_of(&key)?, log.as_deref(), out)
        }
        Command::Doctor(options) => doctor::run(context, &options, out),
        Command::Verify { against_source: true, syncd } => verify::against_source(context, &syncd, out),
        Command::Verify { against_source: false, .. } => verify::run(context, out),
        Command::Top { log, once } => top::run(context, log.as_deref(), once, out),
        Command::Log(options) => session_log::run(context, &options, out),
        Command::Sshd { command } => commands::sshd::run(context, &command, out),
        Command::Revoke(revoke) => run_revoke(context, &revoke, out),
        Command::Manual { prefix } => {
            pushkeys_manual::write(Arguments::command(), "1", &prefix)?;
            Ok(Outcome::Yes)
        }
        Command::Accept { source, yes } => accept::run(context, &source, yes, out),
    }
}

fn run_revoke(context: &Context, revoke: &RevokeOptions, out: &mut dyn io::Write) -> Result<Outcome> {
    let what = match (&revoke.key, &revoke.account) {
        (Some(key), _) => Revoked::Key(key::fingerprint_of(key)?),
        (None, Some(account)) => Revoked::Account(revoke::account(context, account, revoke.undo)?),
        (None, None) => return revoke::list(context, out),
    };
    if revoke.undo { revoke::undo(context, &what, out) } else { revoke::run(context, what, out) }
}

fn report(error: &anyhow::Error) -> ExitCode {
    let is_closed_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(is_closed_pipe)) {
        // The reader has seen enough, as `head` has: no message.
        return ExitCode::from(1);
    }
    anstream::eprintln!("{BAD}error:{BAD:#} {}", hint::report(error.as_ref()).lines());
    let is_misuse = error.is::<KeyArgumentError>()
        || error.is::<accept::NotATerminal>()
        || error.is::<session_log::SinceError>();
    ExitCode::from(if is_misuse { 2 } else { 1 })
}
