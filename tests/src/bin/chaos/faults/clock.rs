//! Wrong clocks, which become right again.

use std::path::Path;
use std::time::Duration;

use pushkeys_tests::{Clock, Room};

use super::{Choice, End, Fault, USUAL, Victim};
use crate::conditions::Excuses;
use crate::world::World;

/// The offsets of wrong clocks. Lookups use the machine's clock.
const OFFSETS: &[&str] = &["+365d", "+2h", "-2h", "-365d"];

/// The offset of a right clock.
const RIGHT: &str = "+0d";
/// The time in which a daemon has synced after its start.
const SYNC_TIME: Duration = Duration::from_secs(3);

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "clock-then-gone",
        about: "a daemon syncs with a clock that is ahead, and stops; its cache is valid no longer than max_stale",
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
            host.start_syncd_with_clock(Clock::Off(choice.variant));
            world.shared.rest(SYNC_TIME);
            world.host(victim).kill_syncd();
            super::network::refuses(world, victim);
            Box::new(move |world| world.host(victim).start_syncd())
        },
        ..USUAL
    },
    Fault {
        name: "clock-syncd",
        about: "a daemon whose clock is wrong, ahead or behind; then it is right again",
        victim: Victim::Host,
        variants: OFFSETS,
        seconds: (4, 8),
        // A daemon whose clock is behind writes a `valid_until` in the past.
        excuses: Excuses { silent: true, ..Excuses::HOST },
        begin: |world, choice| {
            let host = world.host(choice.victim);
            host.kill_syncd();
            host.start_syncd_with_clock(Clock::Off(choice.variant));
            let victim = choice.victim;
            Box::new(move |world| {
                let host = world.host(victim);
                host.kill_syncd();
                host.start_syncd();
            })
        },
        ..USUAL
    },
    Fault {
        name: "clock-jump-syncd",
        about: "the clock of a running daemon jumps, ahead or back, and jumps to the right time again",
        victim: Victim::Host,
        variants: OFFSETS,
        seconds: (4, 8),
        excuses: Excuses { silent: true, ..Excuses::HOST },
        begin: |world, choice| {
            jump(world, choice, |world, victim, file| {
                let host = world.host(victim);
                host.kill_syncd();
                host.start_syncd_with_clock(Clock::AsIn(file));
            })
        },
        ..USUAL
    },
    Fault {
        name: "clock-jump-replica",
        about: "the clock of a running replica jumps, ahead or back, and jumps to the right time again",
        victim: Victim::Replica,
        variants: OFFSETS,
        seconds: (4, 8),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            jump(world, choice, |world, victim, file| {
                let replica = world.replica(victim);
                replica.kill();
                replica.launch_with_clock(Clock::AsIn(file));
            })
        },
        ..USUAL
    },
];

/// Starts a program with a right clock, by `start`, and lets it jump.
fn jump(world: &mut World, choice: &Choice, start: fn(&mut World, usize, &Path)) -> End {
    let room = Room::temporary();
    let file = room.write_with_mode("clock", RIGHT, 0o644);
    start(world, choice.victim, &file);
    world.shared.rest(SYNC_TIME);
    let _ = room.write_with_mode("clock", choice.variant, 0o644);
    Box::new(move |world| {
        let file = room.write_with_mode("clock", RIGHT, 0o644);
        world.shared.log.say("clock", &format!("is right again, as `{}` says", file.display()));
        // The program reads the file throughout its life.
        world.rooms.push(room);
    })
}
