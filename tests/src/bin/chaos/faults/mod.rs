//! The faults.
//!
//! A fault is an entry of a table: a name, the world and the victim, its duration, what it excuses, what
//! `pushkeys status` must print meanwhile, and a function that begins it and returns the one that ends it. To add a fault, write such a
//! function and its entry; plans draw it from then on, `--faults NAME` runs it alone, and all checks watch it:
//!
//! ```ignore
//! Fault {
//!     name: "full-cache",
//!     about: "the disk of a host's cache is full, and has space again",
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
//! Further expectations are added by [`World::expects`]. Losses of a database are marked by
//! `conditions.loses()` and `has_lost()`; the database itself is read afterwards.

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

/// Ends a fault.
pub(crate) type End = Box<dyn FnOnce(&mut World)>;

/// A kind of fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// A description for operators.
    pub(crate) about: &'static str,
    pub(crate) worlds: &'static [Kind],
    pub(crate) victim: Victim,
    /// The variants of the fault.
    pub(crate) variants: &'static [&'static str],
    /// The minimum and maximum duration in seconds.
    pub(crate) seconds: (u64, u64),
    pub(crate) excuses: Excuses,
    /// During the fault, `pushkeys status` on the victim exits with 1 and prints one of these words; not checked if there
    /// are none.
    pub(crate) status: &'static [&'static str],
    /// The relative probability.
    pub(crate) weight: u64,
    /// Whether it may also begin during another fault.
    pub(crate) is_companion: bool,
    pub(crate) begin: fn(&mut World, &Choice) -> End,
}

/// The victim of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    None,
    Replica,
    Host,
}

/// The random choices for one fault.
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

/// The defaults of most faults.
const USUAL: Fault = Fault {
    name: "",
    about: "",
    worlds: ALL,
    victim: Victim::None,
    variants: &["plain"],
    seconds: (2, 8),
    excuses: Excuses::NONE,
    status: &[],
    weight: 2,
    is_companion: false,
    begin: |_, _| ends_by_itself(),
};

/// For faults that end by themselves.
fn ends_by_itself() -> End {
    Box::new(|_| {})
}

/// All faults.
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

/// The fault with this name.
pub(crate) fn named(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

impl Fault {
    /// The fault and its choices, for the log.
    pub(crate) fn described(&self, choice: &Choice) -> String {
        let victim = match self.victim {
            Victim::None => String::new(),
            Victim::Replica => format!(" of replica {}", choice.victim + 1),
            Victim::Host => format!(" of push-{}", choice.victim + 1),
        };
        let variant = if self.variants.len() == 1 { String::new() } else { format!(":{}", choice.variant) };
        format!("{}{variant}{victim} for {:.1} s", self.name, choice.hold.as_secs_f64())
    }
}
