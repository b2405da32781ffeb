//! A chaos test: a whole fleet on loopback, with users, under random faults from a seed.
//!
//! Faults happen to real processes, one after the other and sometimes two at once, while users change keys and log in.
//! Invariants are checked all the time (`checks`), and within half a minute after each fault, or more after a hostile service,
//! the fleet must have recovered by itself: hosts hold the database's keys, and report that they do.
//!
//! A run is determined by its seed: `make chaos SEED=7 MINUTES=10`. `--plan` prints the faults, `--list` all kinds of faults,
//! and `--faults NAME,NAME:VARIANT` runs these in their order.

#![expect(clippy::expect_used, clippy::panic, reason = "a fixture that cannot be set up ends the program")]

mod checks;
mod conditions;
mod database;
mod faults;
mod foreign;
mod log;
mod model;
mod plan;
mod run;
mod shared;
mod users;
mod world;

use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use pushkeys_tests::leave_nothing_behind;

use crate::faults::Fault;
use crate::log::Log;
use crate::plan::{Plan, SETTLING};
use crate::run::Run;
use crate::world::Kind;

/// Runs a fleet under random faults, and prints violations of its invariants.
#[derive(Parser)]
#[command(name = "chaos", after_help = "Exit status: 0 everything held, 1 something did not, 2 misuse.")]
struct Arguments {
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The duration in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// The fleet, in place of the one of the seed
    #[arg(long)]
    world: Option<Kind>,
    /// These faults in their order, in place of random ones: NAME or NAME:VARIANT, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = parse_fault, value_name = "FAULTS")]
    faults: Option<Vec<Given>>,
    /// Print the plan, and exit
    #[arg(long)]
    plan: bool,
    /// Print all faults, and exit
    #[arg(long)]
    list: bool,
    /// Continue after a violation
    #[arg(long)]
    keep_going: bool,
}

/// A fault of the command line.
#[derive(Clone)]
struct Given {
    fault: &'static Fault,
    variant: Option<&'static str>,
}

fn parse_fault(text: &str) -> Result<Given, String> {
    let (name, variant) = text.split_once(':').map_or((text, None), |(name, variant)| (name, Some(variant)));
    let fault =
        faults::named(name).ok_or_else(|| format!("there is no fault `{name}`; `--list` names all"))?;
    let Some(variant) = variant else { return Ok(Given { fault, variant: None }) };
    let known = fault.variants.iter().find(|known| **known == variant);
    let known = known.ok_or_else(|| format!("`{name}` has the variants {}", fault.variants.join(", ")))?;
    Ok(Given { fault, variant: Some(known) })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let kind = match kind(&arguments) {
        Ok(kind) => kind,
        Err(text) => {
            eprintln!("chaos: {text}");
            return ExitCode::from(2);
        }
    };
    let given = arguments.faults.clone();
    let given = given.map(|given| given.into_iter().map(|one| (one.fault, one.variant)).collect());
    let plan = Plan::new(kind, arguments.seed, given);
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    if arguments.plan {
        print(plan, time);
        return ExitCode::SUCCESS;
    }
    leave_nothing_behind();
    let log = Arc::new(Log::open(folder(&arguments, kind)));
    log.say("chaos", &format!("seed {}, {kind:?}, {} minutes", arguments.seed, arguments.minutes));
    keep_logs_of_a_panic(&log);
    let run = Run { kind, seed: arguments.seed, time, keep_going: arguments.keep_going };
    run::run(&run, plan, &log);
    if !log.has_violation() {
        log.say("chaos", "everything held");
        return ExitCode::SUCCESS;
    }
    println!("{}", log.verdict(&again(&arguments, kind)));
    ExitCode::FAILURE
}

/// The world of the command line, else that of its faults, else that of the seed.
fn kind(arguments: &Arguments) -> Result<Kind, String> {
    let given = arguments.faults.iter().flatten().map(|given| given.fault);
    let possible = |kind: &Kind| given.clone().all(|fault| fault.worlds.contains(kind));
    // The large fleet is slow, so it is used only on request, or if a fault needs it.
    let drawn = if arguments.seed.is_multiple_of(3) { Kind::Sqlite } else { Kind::Postgres };
    let mut kinds = match arguments.world {
        Some(kind) => vec![kind],
        None => vec![drawn, Kind::Sqlite, Kind::Postgres, Kind::Large],
    };
    kinds.retain(possible);
    kinds
        .first()
        .copied()
        .ok_or_else(|| "no world has all of these faults; `--list` says which has what".to_owned())
}

fn list() {
    for fault in faults::all() {
        let worlds: Vec<String> =
            fault.worlds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        println!("{} ({}): {}", fault.name, worlds.join(", "), fault.about);
        if fault.variants.len() > 1 {
            println!("    variants: {}", fault.variants.join(", "));
        }
    }
}

fn print(plan: Plan, time: Duration) {
    let mut at = Duration::ZERO;
    for (number, step) in (1..).zip(plan) {
        if at > time {
            return;
        }
        println!("{number}: {step}");
        at += step.choice.hold + SETTLING;
    }
}

/// The arguments, as the name of a folder.
fn folder(arguments: &Arguments, kind: Kind) -> PathBuf {
    let executable = std::env::current_exe().expect("the running executable");
    let target = executable.ancestors().nth(2).expect("target/PROFILE/chaos");
    let faults = arguments.faults.iter().flatten().map(|given| {
        format!(
            "-{}{}",
            given.fault.name,
            given.variant.map(|variant| format!("-{variant}")).unwrap_or_default()
        )
    });
    let name = format!("{kind:?}-{}{}", arguments.seed, faults.collect::<String>()).to_lowercase();
    target.join("chaos").join(name.chars().take(100).collect::<String>())
}

/// The command that repeats the run.
fn again(arguments: &Arguments, kind: Kind) -> String {
    let faults: Vec<String> = arguments
        .faults
        .iter()
        .flatten()
        .map(|given| {
            given.variant.map_or_else(
                || given.fault.name.to_owned(),
                |variant| format!("{}:{variant}", given.fault.name),
            )
        })
        .collect();
    let faults = if faults.is_empty() { String::new() } else { format!(" --faults {}", faults.join(",")) };
    let world = format!("{kind:?}").to_lowercase();
    format!(
        "make chaos SEED={} MINUTES={} ARGS=\"--world {world}{faults}\"",
        arguments.seed, arguments.minutes
    )
}

/// Copies the logs of the fleet before a panic of a fixture ends the program.
fn keep_logs_of_a_panic(log: &Arc<Log>) {
    let (next, log) = (panic::take_hook(), Arc::clone(log));
    panic::set_hook(Box::new(move |info| {
        log.say("chaos", &format!("cannot go on: {info}"));
        log.copy_logs();
        println!("{}", log.verdict("the same arguments"));
        next(info);
    }));
}
