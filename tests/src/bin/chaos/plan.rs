//! The faults of a run in their order: drawn from the seed, or given.

use std::time::Duration;

use pushkeys_tests::SeededRng;

use crate::faults::{self, Choice, Fault, Victim};
use crate::world::{Kind, rng};

const RNG_STREAM: u64 = 1;
/// In one of this number of steps, another fault begins during the first.
const COMPANION_ONE_IN: u64 = 3;
/// The time of a step besides the fault itself, for the printed plan.
pub(crate) const SETTLING: Duration = Duration::from_secs(4);

/// One fault, and another that may begin during it.
pub(crate) struct Step {
    pub(crate) fault: &'static Fault,
    pub(crate) choice: Choice,
    pub(crate) companion: Option<Companion>,
}

pub(crate) struct Companion {
    /// The time after the beginning of the step.
    pub(crate) after: Duration,
    pub(crate) fault: &'static Fault,
    pub(crate) choice: Choice,
}

/// The steps; random ones are endless.
pub(crate) struct Plan {
    kind: Kind,
    rng: SeededRng,
    /// The given faults, each with its variant or any.
    given: Option<std::vec::IntoIter<(&'static Fault, Option<&'static str>)>>,
}

impl Plan {
    /// The plan of `seed`, with all faults of the world or with those in `given`, one after the other.
    pub(crate) fn new(
        kind: Kind,
        seed: u64,
        given: Option<Vec<(&'static Fault, Option<&'static str>)>>,
    ) -> Self {
        Self { kind, rng: rng(seed, RNG_STREAM), given: given.map(Vec::into_iter) }
    }

    fn draw(&mut self, among: impl Fn(&Fault) -> bool) -> &'static Fault {
        let possible: Vec<&Fault> =
            faults::all().filter(|fault| fault.worlds.contains(&self.kind) && among(fault)).collect();
        let weights = possible.iter().map(|fault| fault.weight).sum();
        let mut left = self.rng.below(weights);
        let drawn = possible.into_iter().find(|fault| {
            let is_it = left < fault.weight;
            left = left.saturating_sub(fault.weight);
            is_it
        });
        drawn.expect("below the sum of weights")
    }

    fn victims(&self, fault: &Fault) -> usize {
        match fault.victim {
            Victim::None => 1,
            Victim::Replica => self.kind.replicas(),
            Victim::Host => self.kind.hosts(),
        }
    }

    fn choose(&mut self, fault: &Fault, variant: Option<&'static str>) -> Choice {
        let victims = self.victims(fault) as u64;
        let victim = usize::try_from(self.rng.below(victims)).expect("a few");
        let drawn = *self.rng.pick(fault.variants);
        let (from, to) = fault.seconds;
        let hold = Duration::from_millis(from * 1_000 + self.rng.below((to - from) * 1_000 + 1));
        Choice { victim, variant: variant.unwrap_or(drawn), hold }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(given) = &mut self.given {
            let (fault, variant) = given.next()?;
            let choice = self.choose(fault, variant);
            return Some(Step { fault, choice, companion: None });
        }
        let fault = self.draw(|_| true);
        let choice = self.choose(fault, None);
        let companion = (self.rng.below(COMPANION_ONE_IN) == 0).then(|| {
            let other = self.draw(|other| other.is_companion && other.name != fault.name);
            let hold = u64::try_from(choice.hold.as_millis()).expect("some seconds");
            let after = Duration::from_millis(self.rng.below(hold + 1));
            let mut theirs = self.choose(other, None);
            if other.victim == fault.victim && theirs.victim == choice.victim {
                // The second fault must not undo the first one's effect on its victim.
                theirs.victim = (choice.victim + 1) % self.victims(other);
            }
            Companion { after, fault: other, choice: theirs }
        });
        Some(Step { fault, choice, companion })
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.fault.described(&self.choice))?;
        if let Some(Companion { after, fault, choice }) = &self.companion {
            write!(out, "; after {:.1} s {}", after.as_secs_f64(), fault.described(choice))?;
        }
        Ok(())
    }
}
