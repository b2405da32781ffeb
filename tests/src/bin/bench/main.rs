//! The performance figures of pushkeys, measured on this machine with the real programs: `make bench-lookup` and so on.
//!
//! Each command measures the compared programs in one run, alternating (A B A B …), prints medians, 99th percentiles and ratios,
//! and exits with 1 if a figure is missed.

#![expect(clippy::expect_used, clippy::panic, reason = "a measurement that cannot be made ends the program")]

mod api;
mod burst;
mod cache;
mod first_sync;
mod hosts;
mod inspect;
mod login;
mod lookup;
mod ls_remote;
mod offer;
mod propagation;
mod report;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pushkeys_tests::leave_nothing_behind;

use crate::report::Report;

/// Measures pushkeys on this machine, with the programs of the release build.
#[derive(Parser)]
#[command(name = "bench", after_help = "Exit status: 0 every figure is reached, 1 one is missed, 2 misuse.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The helper's time and memory, against a static C program that does nothing
    Lookup(lookup::Arguments),
    /// The first sync of a host, against `ssh-keygen -lf` of the same keys
    FirstSync(first_sync::Arguments),
    /// From a request at the API until sshd accepts, or refuses, the key
    Propagation(propagation::Arguments),
    /// A login, against the same login with a one-line `authorized_keys`
    Login(login::Arguments),
    /// `git ls-remote` through pushkeys-shell, against the same repository behind git-shell
    LsRemote(ls_remote::Arguments),
    /// Changes per second that a host catches up with
    Burst(burst::Arguments),
    /// The sysadmin's tool, against reading and checksumming the cache
    Inspect(inspect::Arguments),
    /// Requests per second of the key API, against a handler that does nothing
    Api(api::Arguments),
    /// From a request at the API until the last of thousands of connected hosts has the change
    Hosts(hosts::Arguments),
    /// Reads and checksums every file of a folder
    #[command(hide = true, name = inspect::CHECKSUM)]
    Checksum {
        /// The folder
        folder: PathBuf,
    },
    /// The handler that does nothing
    #[command(hide = true, name = api::BARE)]
    Bare {
        /// Where it listens
        address: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    leave_nothing_behind();
    let mut report = Report::new();
    match arguments.command {
        Command::Lookup(arguments) => lookup::run(&arguments, &mut report),
        Command::FirstSync(arguments) => first_sync::run(&arguments, &mut report),
        Command::Propagation(arguments) => propagation::run(&arguments, &mut report),
        Command::Login(arguments) => login::run(&arguments, &mut report),
        Command::LsRemote(arguments) => ls_remote::run(&arguments, &mut report),
        Command::Burst(arguments) => burst::run(&arguments, &mut report),
        Command::Inspect(arguments) => inspect::run(&arguments, &mut report),
        Command::Checksum { folder } => inspect::checksum(&folder),
        Command::Api(arguments) => api::run(&arguments, &mut report),
        Command::Hosts(arguments) => hosts::run(&arguments, &mut report),
        Command::Bare { address } => api::serve_bare(&address),
    }
    report.verdict()
}
