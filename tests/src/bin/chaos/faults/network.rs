//! Network failures between hosts, users, the service and its database.

use std::time::Duration;

use pushkeys_tests::NetworkState;

use super::{Choice, Fault, POSTGRES, USUAL, Victim};
use crate::conditions::{Excuses, Hosts, MAX_STALE, Writes};
use crate::world::World;

/// Far below the limits of a heartbeat each second and a `silence_max` of three.
const DELAY: Duration = Duration::from_millis(250);
/// For the database, which has several queries for one change.
const DATABASE_DELAY: Duration = Duration::from_millis(40);

/// HEAD has whole seconds, and it takes some to detect silence.
const REFUSAL_SLACK: Duration = Duration::from_secs(8);

const WEATHERS: &[&str] = &["refused", "held", "lost"];

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "cut-feed",
        about: "a host's network to the service: refused, held, or silently lost",
        victim: Victim::Host,
        variants: WEATHERS,
        seconds: (5, 20),
        excuses: Excuses::HOST,
        status: &["out of reach", "unreachable", "silent"],
        weight: 4,
        begin: |world, choice| {
            world.host(choice.victim).link.set_network(network_state(choice));
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).link.set_network(NetworkState::Clear))
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
            world.host(choice.victim).link.closes_connections();
            super::ends_by_itself()
        },
        ..USUAL
    },
    Fault {
        name: "slow-feed",
        about: "a host's network to the service has a delay of a quarter of a second, which is no fault",
        victim: Victim::Host,
        seconds: (5, 15),
        begin: |world, choice| {
            world.host(choice.victim).link.set_network(NetworkState::Slow(DELAY));
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).link.set_network(NetworkState::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "long-cut",
        about: "a host is disconnected for longer than max_stale: it refuses logins, and reports it",
        victim: Victim::Host,
        variants: WEATHERS,
        seconds: (70, 75),
        excuses: Excuses::HOST,
        status: &["out of reach", "unreachable", "silent", "refused"],
        weight: 1,
        begin: |world, choice| {
            let victim = choice.victim;
            world.host(victim).link.set_network(network_state(choice));
            refuses(world, victim);
            Box::new(move |world| world.host(victim).link.set_network(NetworkState::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "cut-users",
        about: "users' connections break: the result of a request without a response is unknown",
        variants: WEATHERS,
        seconds: (1, 4),
        excuses: Excuses { writes: Writes::MayFail, ..Excuses::NONE },
        is_companion: true,
        begin: |world, choice| {
            world.front.set_network(network_state(choice));
            Box::new(|world| world.front.set_network(NetworkState::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-cut",
        about: "a replica's network to PostgreSQL: refused, held, or silently lost",
        worlds: POSTGRES,
        victim: Victim::Replica,
        variants: WEATHERS,
        seconds: (3, 20),
        excuses: Excuses::SERVICE,
        weight: 4,
        begin: |world, choice| {
            link(world, choice.victim, network_state(choice));
            let victim = choice.victim;
            Box::new(move |world| link(world, victim, NetworkState::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-slow",
        about: "a replica's network to PostgreSQL has a delay of 40 ms, which slows changes and is no fault",
        worlds: POSTGRES,
        victim: Victim::Replica,
        seconds: (5, 12),
        excuses: Excuses { writes: Writes::Slow, behind: Hosts::All, ..Excuses::NONE },
        begin: |world, choice| {
            link(world, choice.victim, NetworkState::Slow(DATABASE_DELAY));
            let victim = choice.victim;
            Box::new(move |world| link(world, victim, NetworkState::Clear))
        },
        ..USUAL
    },
    Fault {
        name: "pg-cut-replication",
        about: "the standby is disconnected, which must have no effect",
        worlds: POSTGRES,
        seconds: (2, 5),
        weight: 1,
        begin: |world, _| {
            world.database.pair().replication.set_network(NetworkState::Refused);
            Box::new(|world| world.database.pair().replication.set_network(NetworkState::Clear))
        },
        ..USUAL
    },
];

pub(super) fn network_state(choice: &Choice) -> NetworkState {
    match choice.variant {
        "held" => NetworkState::Held,
        "lost" => NetworkState::Lost,
        _ => NetworkState::Refused,
    }
}

/// Expects that a disconnected host refuses in time.
pub(super) fn refuses(world: &mut World, host: usize) {
    world.expects("lookups refuse past max_stale", MAX_STALE + REFUSAL_SLACK, move |world| {
        let key = world.residents.first().expect("keys that never change");
        world.hosts.get(host).expect("a host of the world").refuses(key)
    });
}

fn link(world: &mut World, replica: usize, network_state: NetworkState) {
    world.database.pair().links.get(replica).expect("a link of the replica").set_network(network_state);
}
