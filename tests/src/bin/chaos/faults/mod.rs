//! Everything that goes wrong.
//!
//! A fault is one entry of a table: a name, where it can happen, to whom, how long it lasts, what it excuses, what
//! `pushkeys status` must say meanwhile, and a function that begins it and gives what ends it. To add one, write such a
//! function and its entry; the plan draws it from then on, `--faults NAME` runs it alone, and all checks watch it:
//!
//! ```ignore
//! Fault {
//!     name: "full-cache",
//!     about: "the disk of a host's cache is full, and has room again",
//!     victim: Victim::Host,                  // `choice.victim` is its number
//!     seconds: (6, 12),                      // drawn between these, and held before the function's answer is called
//!     excuses: Excuses::HOST,                // the victim may be behind; everything else must go on
//!     status: &["no space", "disk", "full"], // `pushkeys status` there exits with 1, and says one of these
//!     begin: |world, choice| {
//!         let victim = choice.victim;
//!         world.host(victim).disk.fill();
//!         Box::new(move |world| world.host(victim).disk.make_room())
//!     },
//!     ..USUAL
//! }
//! ```
//!
//! What else is to be seen while it lasts is said by [`World::expects`]. What is lost with a database is bracketed by
//! `conditions.loses()` and `has_lost()`; the database itself is asked afterwards.

mod abuse;
mod account;
mod clock;
mod database;
mod host;
mod hostile;
mod network;
mod process;

use std::time::Duration;

use crate::conditions::Excuses;
use crate::world::{Kind, World};

/// What ends a fault.
pub(crate) type End = Box<dyn FnOnce(&mut World)>;

/// One kind of fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What happens, for people.
    pub(crate) about: &'static str,
    pub(crate) worlds: &'static [Kind],
    pub(crate) victim: Victim,
    /// Ways in which it happens.
    pub(crate) variants: &'static [&'static str],
    /// How long it lasts, in seconds: from, to.
    pub(crate) seconds: (u64, u64),
    pub(crate) excuses: Excuses,
    /// While it lasts, `pushkeys status` on the victim exits with 1 and says one of these words; nothing is asked of
    /// it where there are none.
    pub(crate) status: &'static [&'static str],
    /// How often it is drawn, against the others.
    pub(crate) weight: u64,
    /// Whether it may also happen in the middle of another.
    pub(crate) is_companion: bool,
    pub(crate) begin: fn(&mut World, &Choice) -> End,
}

/// To whom it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Nobody,
    Replica,
    Host,
}

/// What was drawn for one fault.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The number of the host or the replica, from 0.
    pub(crate) victim: usize,
    pub(crate) variant: &'static str,
    pub(crate) hold: Duration,
}

const ALL: &[Kind] = &[Kind::Sqlite, Kind::Postgres, Kind::Large];
const POSTGRES: &[Kind] = &[Kind::Postgres];
const SQLITE: &[Kind] = &[Kind::Sqlite, Kind::Large];
const LARGE: &[Kind] = &[Kind::Large];

/// What most faults have in common.
const USUAL: Fault = Fault {
    name: "",
    about: "",
    worlds: ALL,
    victim: Victim::Nobody,
    variants: &["plain"],
    seconds: (2, 8),
    excuses: Excuses::NONE,
    status: &[],
    weight: 2,
    is_companion: false,
    begin: |_, _| ends_by_itself(),
};

/// What needs nothing to end it.
fn ends_by_itself() -> End {
    Box::new(|_| {})
}

/// Every fault.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    [
        process::FAULTS,
        network::FAULTS,
        database::FAULTS,
        host::FAULTS,
        clock::FAULTS,
        hostile::FAULTS,
        abuse::FAULTS,
        account::FAULTS,
    ]
    .into_iter()
    .flatten()
}

/// The fault of that name.
pub(crate) fn named(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

impl Fault {
    /// The fault and what was drawn for it, for people.
    pub(crate) fn described(&self, choice: &Choice) -> String {
        let victim = match self.victim {
            Victim::Nobody => String::new(),
            Victim::Replica => format!(" of replica {}", choice.victim + 1),
            Victim::Host => format!(" of push-{}", choice.victim + 1),
        };
        let variant = if self.variants.len() == 1 { String::new() } else { format!(":{}", choice.variant) };
        format!("{}{variant}{victim} for {:.1} s", self.name, choice.hold.as_secs_f64())
    }
}
