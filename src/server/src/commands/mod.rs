//! The command line: one module per command, and shared code.
//!
//! Commands change the database directly, also while the service runs: it notices their changes within a tenth of a
//! second.

mod account;
mod backup;
mod check;
mod host;
mod import;
mod migrate;
mod output;
mod revocation;
mod serve;
mod shared;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use pushkeys_keys::ErrorReport;

use self::output::Output;
use self::shared::Answer;
use crate::config::Config;

const DEFAULT_CONFIG: &str = "/etc/pushkeys/server.toml";

/// The key service of pushkeys: accounts register SSH keys, and push hosts keep copies of them.
#[derive(Parser)]
#[command(
    name = "pushkeys-server",
    version,
    after_help = "Exit status: 0 success, 1 failure, 2 wrong usage."
)]
struct Arguments {
    /// The configuration file
    #[arg(long, global = true, env = "PUSHKEYS_SERVER_CONFIG", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the key API and the host feed until SIGTERM
    Serve,
    /// Check the configuration, its files and the database, without changing anything
    Check,
    /// Add, list and remove accounts
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Add, list and revoke the tokens of an account
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Add, list, rotate and revoke push hosts
    #[command(subcommand)]
    Host(host::HostCommand),
    /// List, confirm and dismiss revocations that were made on push hosts
    #[command(subcommand)]
    Revocation(revocation::RevocationCommand),
    /// The former name of `host list`
    #[command(hide = true)]
    Hosts,
    /// Import keys of many accounts
    Import(import::ImportArguments),
    /// Copy the database, also while the service runs
    Backup(backup::BackupArguments),
    /// Make every host take a snapshot, after the database was restored to an older state
    NewEpoch,
    /// Copy everything from SQLite to an empty PostgreSQL database
    Migrate(migrate::MigrateArguments),
    /// Write the manual pages and shell completions below a prefix such as /usr, for packaging
    #[command(hide = true)]
    Manual {
        /// The prefix
        prefix: PathBuf,
    },
}

/// Runs the command of this process's arguments.
pub(crate) fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", ErrorReport::of(error.as_ref()).lines());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    if let Command::Manual { prefix } = &arguments.command {
        pushkeys_manual::write(Arguments::command(), "8", prefix)?;
        return Ok(Answer::Yes);
    }
    let config = Config::load(&arguments.config)?;
    let output = Output::new(arguments.json);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::run(&config).await,
            Command::Check => check::run(&config, output).await,
            Command::Account(command) => account::run(&config, command, output).await,
            Command::Token(command) => token::run(&config, command, output).await,
            Command::Host(command) => host::run(&config, command, output).await,
            Command::Revocation(command) => revocation::run(&config, command, output).await,
            Command::Hosts => host::list_by_old_name(&config, output).await,
            Command::Import(arguments) => import::run(&config, arguments, output).await,
            Command::Backup(arguments) => backup::run(&config, &arguments, output).await,
            Command::NewEpoch => backup::begin_epoch(&config, output).await,
            Command::Migrate(arguments) => migrate::run(&config, &arguments, output).await,
            // Handled above, since it needs no configuration.
            Command::Manual { .. } => Ok(Answer::Yes),
        }
    });
    // Without this, the program waits for a name server that does not answer.
    runtime.shutdown_background();
    answer
}
