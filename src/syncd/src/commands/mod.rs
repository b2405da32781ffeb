//! The commands of the program.

mod arguments;
mod check;
mod compare;
mod contact;
mod flags;
mod owner;
mod run;
mod sync_once;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use pushkeys_keys::ErrorReport;
use tokio::runtime::Builder;

use self::arguments::{Arguments, Command};
use self::contact::Extent;
use crate::config::{self, Config};

/// What is logged, in the syntax of tracing-subscriber's `EnvFilter`; `info` without it.
const LOG_FILTER_VARIABLE: &str = "PUSHKEYS_LOG";

/// One worker for the streams, and one for everything else.
const WORKER_THREADS: usize = 2;

/// The validation of a snapshot fills the machine's cores; each directory source may read beside that.
const BLOCKING_THREADS_MAX: usize = 16;

/// The program.
pub(crate) fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse_from(flags::to_commands(std::env::args_os()));
    // A second provider in one process would be a mistake of the build, and the first is then as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    execute(&config, command.unwrap_or(Command::Run)).unwrap_or_else(|error| {
        eprintln!("error: {}", ErrorReport::of(error.as_ref()).lines());
        ExitCode::FAILURE
    })
}

/// Does `command` under the configuration at `path`.
fn execute(path: &Path, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run => {
            with_config(path, async |config| run::run(path, config).await)??;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { contact, brief, json } => {
            owner::become_owner(path)?;
            let extent = if brief { Extent::FirstEntry } else { Extent::Whole };
            let contact = contact.then_some(extent);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(check::run(path, contact, json)))
        }
        Command::SyncOnce { json } => {
            owner::become_owner(path)?;
            with_config(path, async |config| sync_once::run(&config, json).await)
        }
        Command::Compare { json } => {
            owner::become_owner(path)?;
            with_config(path, async |config| compare::run(&config, json).await)
        }
        Command::Manual { prefix } => {
            pushkeys_manual::write(Arguments::command(), "8", &prefix)
                .with_context(|| format!("cannot write below `{}`", prefix.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Does `work` under the configuration at `path`, with a log.
fn with_config<T>(path: &Path, work: impl AsyncFnOnce(Config) -> T) -> anyhow::Result<T> {
    pushkeys_daemon::log::start(LOG_FILTER_VARIABLE)?;
    let config = config::load(path)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    let result = runtime.block_on(work(config));
    // What still reads a slow disk or a slow resolver must not keep the process.
    runtime.shutdown_background();
    Ok(result)
}
