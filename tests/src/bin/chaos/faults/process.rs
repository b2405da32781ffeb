//! Processes that are killed, suspended and started.

use std::time::{Duration, Instant};

use super::{Choice, End, Fault, USUAL, Victim, ends_by_itself};
use crate::conditions::Excuses;
use crate::world::World;

/// `TimeoutStopSec` of the unit.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);
/// The number of consecutive kills; a process lives longer each time, up to this number of milliseconds.
const KILLS: u64 = 6;
const LIFE_MS: u64 = 350;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "kill-replica",
        about: "kill -9 of a replica, which is started again at the end",
        victim: Victim::Replica,
        excuses: Excuses::SERVICE,
        weight: 3,
        begin: |world, choice| {
            world.replica(choice.victim).kill();
            let victim = choice.victim;
            Box::new(move |world| world.replica(victim).launch())
        },
        ..USUAL
    },
    Fault {
        name: "restart-replica",
        about: "SIGTERM to a replica, which ends within the time of its unit, and its start",
        victim: Victim::Replica,
        seconds: (1, 2),
        excuses: Excuses::SERVICE,
        is_companion: true,
        begin: restart_replica,
        ..USUAL
    },
    Fault {
        name: "freeze-replica",
        about: "SIGSTOP of a replica: its machine hangs, and keeps its locks",
        victim: Victim::Replica,
        seconds: (3, 18),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            world.replica(choice.victim).freeze();
            let victim = choice.victim;
            Box::new(move |world| world.replica(victim).thaw())
        },
        ..USUAL
    },
    Fault {
        name: "kill-syncd",
        about: "kill -9 of a host's daemon, which stays stopped for a while or is killed repeatedly",
        victim: Victim::Host,
        variants: &["once", "again-and-again"],
        seconds: (2, 4),
        excuses: Excuses::HOST,
        weight: 3,
        is_companion: true,
        begin: kill_syncd,
        ..USUAL
    },
    Fault {
        name: "stop-syncd",
        about: "a host's daemon is stopped, and `pushkeys status` reports it",
        victim: Victim::Host,
        seconds: (4, 10),
        excuses: Excuses::HOST,
        status: &["not running"],
        begin: |world, choice| {
            world.host(choice.victim).kill_syncd();
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).start_syncd())
        },
        ..USUAL
    },
    Fault {
        name: "freeze-syncd",
        about: "SIGSTOP of a host's daemon: it hangs, and `pushkeys status` reports it",
        victim: Victim::Host,
        seconds: (10, 30),
        excuses: Excuses::HOST,
        status: &["hang", "hung", "stopped", "not moving", "no longer", "silent", "behind", "stuck"],
        begin: |world, choice| {
            world.host(choice.victim).freeze_syncd();
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).thaw_syncd())
        },
        ..USUAL
    },
];

fn restart_replica(world: &mut World, choice: &Choice) -> End {
    stop(world, choice.victim);
    world.replica(choice.victim).launch();
    ends_by_itself()
}

/// Stops a replica, and waits until it has ended.
pub(super) fn stop(world: &mut World, victim: usize) {
    let began = Instant::now();
    if !world.replica(victim).stop(STOP_TIME_MAX) {
        let text = format!("does not end within {} s of SIGTERM", STOP_TIME_MAX.as_secs());
        world.shared.log.violation(&format!("replica {}", victim + 1), &text, began);
    }
}

fn kill_syncd(world: &mut World, choice: &Choice) -> End {
    let victim = choice.victim;
    if choice.variant == "again-and-again" {
        for life in 0..KILLS {
            let host = world.host(victim);
            host.kill_syncd();
            host.start_syncd();
            // Kills it in different phases of its start.
            world.shared.rest(Duration::from_millis(LIFE_MS * life / KILLS));
        }
        return ends_by_itself();
    }
    world.host(victim).kill_syncd();
    Box::new(move |world| world.host(victim).start_syncd())
}
