//! Short runs of `make chaos`.
//!
//! Each run is a list of faults that the programs handle today. When they handle all faults, the lists become seeds.
//! Faults that are missing here are not handled yet: compare the table in `tests/src/bin/chaos/faults/mod.rs` with these lists.

use std::process::Command;
use std::time::Duration;

use pushkeys_tests::run_within;

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
/// On a machine that runs other tests at the same time, with half a minute after each fault, or more after a hostile one.
const TIME_MAX: Duration = Duration::from_mins(6);

/// Runs `faults` in the fleet `world`, with the random choices of `seed`.
#[track_caller]
fn check(world: &str, seed: u64, faults: &str) {
    let mut command = Command::new(CHAOS);
    command.args(["--world", world, "--seed", &seed.to_string(), "--faults", faults]);
    let finished = run_within(&mut command, TIME_MAX);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("everything held"), "{}", finished.stdout);
}

#[test]
fn a_service_on_sqlite_and_its_hosts_survive_kills_and_network_failures() {
    check(
        "sqlite",
        1,
        "kill-syncd:again-and-again,kill-replica,cut-users:lost,cut-feed:refused,sqlite-lock:short",
    );
}

#[test]
fn replicas_on_postgresql_survive_the_loss_of_their_database() {
    check("postgres", 2, "pg-restart,pg-promotion:orderly,restart-replica,pg-cut:refused,pg-terminate");
}

#[test]
fn hosts_survive_bad_responses_and_wrong_clocks() {
    check("sqlite", 3, "hostile-answers:cut,hostile-answers:garbage,clock-jump-syncd,new-epoch,slow-feed");
}

#[test]
fn the_seed_determines_the_plan() {
    let plan = |seed: &str| {
        let mut command = Command::new(CHAOS);
        run_within(command.args(["--plan", "--minutes", "30", "--seed", seed]), TIME_MAX).output()
    };
    assert_eq!(plan("7"), plan("7"));
    assert_ne!(plan("7"), plan("8"));
    assert!(plan("7").lines().count() > 50, "half an hour is many faults");
}
