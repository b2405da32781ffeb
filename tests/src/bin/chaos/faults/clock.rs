//! Clocks that are wrong, and become right.

use std::time::Duration;

use super::{Fault, USUAL, Victim};
use crate::conditions::Excuses;

/// What a clock is off by. Lookups have the machine's own clock.
const OFFSETS: &[&str] = &["+365d", "+2h", "-2h", "-365d"];

/// A daemon that starts has synced after this time.
const SYNC_TIME: Duration = Duration::from_secs(3);

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "clock-then-gone",
        about: "a daemon syncs with a clock that is ahead, and ends; nothing that it wrote counts for longer than max_stale",
        victim: Victim::Host,
        variants: &["+365d", "+2h"],
        seconds: (66, 70),
        excuses: Excuses { silent: true, ..Excuses::HOST },
        status: &["not running"],
        weight: 1,
        begin: |world, choice| {
            let victim = choice.victim;
            let host = world.host(victim);
            host.kill_syncd();
            host.start_syncd_with_clock(choice.variant);
            world.shared.rest(SYNC_TIME);
            world.host(victim).kill_syncd();
            super::network::refuses(world, victim);
            Box::new(move |world| world.host(victim).start_syncd())
        },
        ..USUAL
    },
    Fault {
        name: "clock-syncd",
        about: "a daemon whose clock is off, ahead or behind; then it is right again",
        victim: Victim::Host,
        variants: OFFSETS,
        seconds: (4, 8),
        // A daemon whose clock is behind vouches for a time that is past.
        excuses: Excuses { silent: true, ..Excuses::HOST },
        begin: |world, choice| {
            let host = world.host(choice.victim);
            host.kill_syncd();
            host.start_syncd_with_clock(choice.variant);
            let victim = choice.victim;
            Box::new(move |world| {
                let host = world.host(victim);
                host.kill_syncd();
                host.start_syncd();
            })
        },
        ..USUAL
    },
];
