//! Networks that fail, between hosts, users, the service and its database.

use std::time::Duration;

use pushkeys_tests::Weather;

use super::{Choice, Fault, POSTGRES, USUAL, Victim};
use crate::conditions::{Excuses, Hosts, MAX_STALE, Writes};
use crate::world::World;

/// Far beyond what a heartbeat each second and a silence of three need.
const DELAY: Duration = Duration::from_millis(250);
/// To a database, which is asked several times for one change.
const DATABASE_DELAY: Duration = Duration::from_millis(40);

/// HEAD counts whole seconds, and silence takes some to be noticed.
const REFUSAL_SLACK: Duration = Duration::from_secs(8);

const WEATHERS: &[&str] = &["refused", "held", "lost"];

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "cut-feed",
        about: "a host's way to the service: refused, held back, or swallowed without a word",
        victim: Victim::Host,
        variants: WEATHERS,
        seconds: (5, 20),
        excuses: Excuses::HOST,
        status: &["out of reach", "unreachable", "silent"],
        weight: 4,
        begin: |world, choice| {
            world.host(choice.victim).way.turns(weather(choice));
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).way.turns(Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "blink-feed",
        about: "a host's connections are closed, and it comes back",
        victim: Victim::Host,
        seconds: (1, 2),
        excuses: Excuses::HOST,
        is_companion: true,
        begin: |world, choice| {
            world.host(choice.victim).way.closes_connections();
            super::ends_by_itself()
        },
        ..USUAL
    },
    Fault {
        name: "slow-feed",
        about: "a host's way to the service takes a quarter of a second, which is no fault",
        victim: Victim::Host,
        seconds: (5, 15),
        begin: |world, choice| {
            world.host(choice.victim).way.turns(Weather::Slow(DELAY));
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).way.turns(Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "long-cut",
        about: "a host is cut off for longer than max_stale: it refuses, and says so",
        victim: Victim::Host,
        variants: WEATHERS,
        seconds: (70, 75),
        excuses: Excuses::HOST,
        status: &["out of reach", "unreachable", "silent", "refused"],
        weight: 1,
        begin: |world, choice| {
            let victim = choice.victim;
            world.host(victim).way.turns(weather(choice));
            refuses(world, victim);
            Box::new(move |world| world.host(victim).way.turns(Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "cut-users",
        about: "users' connections break: an answer that never came is not known to anybody",
        variants: WEATHERS,
        seconds: (1, 4),
        excuses: Excuses { writes: Writes::MayFail, ..Excuses::NONE },
        is_companion: true,
        begin: |world, choice| {
            world.front.turns(weather(choice));
            Box::new(|world| world.front.turns(Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-cut",
        about: "a replica's way to PostgreSQL: refused, held back, or swallowed without a word",
        worlds: POSTGRES,
        victim: Victim::Replica,
        variants: WEATHERS,
        seconds: (3, 20),
        excuses: Excuses::SERVICE,
        weight: 4,
        begin: |world, choice| {
            way(world, choice.victim, weather(choice));
            let victim = choice.victim;
            Box::new(move |world| way(world, victim, Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-slow",
        about: "a replica's way to PostgreSQL takes 40 ms, which slows changes and is no fault",
        worlds: POSTGRES,
        victim: Victim::Replica,
        seconds: (5, 12),
        excuses: Excuses { writes: Writes::Slow, behind: Hosts::Everybody, ..Excuses::NONE },
        begin: |world, choice| {
            way(world, choice.victim, Weather::Slow(DATABASE_DELAY));
            let victim = choice.victim;
            Box::new(move |world| way(world, victim, Weather::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-cut-replication",
        about: "the standby is cut off, which nobody else may notice",
        worlds: POSTGRES,
        seconds: (2, 5),
        weight: 1,
        begin: |world, _| {
            world.database.pair().replication.turns(Weather::Refused);
            Box::new(|world| world.database.pair().replication.turns(Weather::Clear))
        },
        ..USUAL
    },
];

pub(super) fn weather(choice: &Choice) -> Weather {
    match choice.variant {
        "held" => Weather::Held,
        "lost" => Weather::Lost,
        _ => Weather::Refused,
    }
}

/// Expects that a host without its service refuses in time.
pub(super) fn refuses(world: &mut World, host: usize) {
    world.expects("lookups refuse past max_stale", MAX_STALE + REFUSAL_SLACK, move |world| {
        let key = world.residents.first().expect("keys that never change");
        world.hosts.get(host).expect("a host of the world").refuses(key)
    });
}

fn way(world: &mut World, replica: usize, weather: Weather) {
    world.database.pair().ways.get(replica).expect("a way of the replica").turns(weather);
}
