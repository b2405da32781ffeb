//! One run: faults, one after the other, and after each the check that the fleet has recovered.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::checks::health::Served;
use crate::checks::resources::{Peaks, Processes};
use crate::checks::{health, hosts, logins, resources};
use crate::conditions::{Excuses, RECOVERY, Writes};
use crate::database::Registered;
use crate::faults::{Choice, Fault, Victim};
use crate::log::Log;
use crate::plan::{Companion, Plan, Step};
use crate::shared::Shared;
use crate::users::{self, PATIENCE_MAX};
use crate::world::{Host, Kind, Replica, World, standing_at};

const TICK: Duration = Duration::from_millis(50);
/// The minimum interval of `pushkeys status`.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// A host's status reports a fault within this time.
const STATUS_TIME_MAX: Duration = Duration::from_secs(20);
/// Nine tenths of the changes take no longer, on a busy machine; without load, they take some milliseconds.
const SLOW_MS_MAX: u64 = 2_500;
/// The number of consecutive changes after which a replica has recovered.
const SERVED_MIN: u64 = 4;
/// The time without failed changes of users after which all connections work.
const SERVED_TIME: Duration = Duration::from_secs(2);
/// The time limit for pausing all users.
const PAUSE_MAX: Duration = PATIENCE_MAX.saturating_add(Duration::from_secs(1));
/// Before the first fault: the fleet was just started.
const FIRST_CALM: Duration = Duration::from_mins(1);

/// The parameters of a run.
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    /// Whether to continue after a violation.
    pub(crate) keep_going: bool,
}

/// Runs the steps of `plan` until the end of the plan or the time, or a violation.
pub(crate) fn run(run: &Run, plan: Plan, log: &Arc<Log>) {
    let world = World::start(run.kind, run.seed, log);
    let mut fleet = Fleet::watch(world, run);
    let began = Instant::now();
    fleet.settle("the fleet is started", FIRST_CALM);
    for (number, step) in (1..).zip(plan) {
        if began.elapsed() > run.time || fleet.is_lost || (log.has_violation() && !run.keep_going) {
            break;
        }
        fleet.step(number, &step);
    }
    fleet.end();
}

/// A world with its users and checks.
struct Fleet {
    world: World,
    shared: Arc<Shared>,
    served: Vec<Arc<Served>>,
    processes: Processes,
    peaks: Peaks,
    threads: Vec<JoinHandle<()>>,
    keep_going: bool,
    /// Whether even a restart did not help.
    is_lost: bool,
}

impl Fleet {
    fn watch(world: World, run: &Run) -> Self {
        let seed = run.seed;
        let (processes, peaks) = (Processes::default(), Peaks::default());
        let mut threads = users::start(&world, seed);
        let (served, probes) = health::start(&world);
        threads.extend(probes);
        threads.extend(hosts::start(&world, seed));
        threads.push(logins::start(&world, seed));
        threads.push(resources::start(&world, &processes, &peaks));
        let shared = Arc::clone(&world.shared);
        let keep_going = run.keep_going;
        Self { world, shared, served, processes, peaks, threads, keep_going, is_lost: false }
    }

    fn step(&mut self, number: usize, step: &Step) {
        let Step { fault, choice, companion } = step;
        self.shared.log.fault(&format!("{number}: {step}"));
        let active = self.shared.conditions.begin(fault.excuses, choice.victim);
        self.look();
        let end = (fault.begin)(&mut self.world, choice);
        self.expect_status(fault, choice);
        let mut other = None;
        // Slow changes before the fault are not counted.
        let _ = self.shared.counts.slow_ms();
        let began = Instant::now();
        let mut companion = companion.as_ref();
        while began.elapsed() < choice.hold && !self.shared.is_over() {
            if let Some(due) = companion.take_if(|companion| began.elapsed() >= companion.after) {
                other = Some(self.begin_companion(due));
            }
            self.look();
            self.probe();
            thread::sleep(TICK);
        }
        self.await_expectations();
        if other.is_none() {
            self.check_slowness(fault);
        }
        if let Some((active, end)) = other {
            end(&mut self.world);
            self.shared.conditions.end(active);
        }
        end(&mut self.world);
        self.look();
        self.shared.conditions.end(active);
        self.shared.log.say("fault", &format!("{number}: {} is over", fault.name));
        self.settle(fault.name, fault.excuses.recovery);
    }

    /// Checks that changes are fast, unless the fault excuses failed or slow ones.
    fn check_slowness(&self, fault: &Fault) {
        let Some(slow) = self.shared.counts.slow_ms() else { return };
        self.shared.log.note("users", &format!("nine tenths of the changes took {slow} ms or less"));
        if fault.excuses.writes == Writes::Served && slow > SLOW_MS_MAX {
            let text = format!("one change in ten takes {slow} ms or longer during {}", fault.name);
            self.shared.log.violation("users", &text, Instant::now());
        }
    }

    fn begin_companion(&mut self, companion: &Companion) -> (u64, crate::faults::End) {
        let Companion { fault, choice, .. } = companion;
        self.shared.log.fault(&format!("meanwhile: {}", fault.described(choice)));
        let active = self.shared.conditions.begin(fault.excuses, choice.victim);
        (active, (fault.begin)(&mut self.world, choice))
    }

    /// Restarts services like a service manager, and updates the processes of the resource check.
    fn look(&mut self) {
        self.world.supervise();
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner) = self.world.processes();
    }

    fn expect_status(&mut self, fault: &'static Fault, choice: &Choice) {
        if fault.status.is_empty() || fault.victim != Victim::Host {
            return;
        }
        let victim = choice.victim;
        let what = format!("`pushkeys status` on push-{} says what is wrong", victim + 1);
        self.world.expects(&what, STATUS_TIME_MAX, move |world| {
            let host = world.hosts.get(victim).expect("a host of the world");
            let finished = host.push.pushkeys(&["status"]);
            let text = finished.stdout.to_lowercase();
            if finished.status.code() == Some(1) && fault.status.iter().any(|word| text.contains(word)) {
                return Ok(());
            }
            Err(format!("it exits with {} and says: {}", finished.status, last_lines(&finished.stdout)))
        });
    }

    /// Checks the expectations.
    fn probe(&mut self) {
        let mut missing = Vec::new();
        for mut expectation in std::mem::take(&mut self.world.expectations) {
            if expectation.looked.is_some_and(|looked: Instant| looked.elapsed() < PROBE_PAUSE) {
                self.world.expectations.push(expectation);
                continue;
            }
            let seen = (expectation.probe)(&self.world);
            expectation.looked = Some(Instant::now());
            match seen {
                Ok(()) => {
                    let seconds = expectation.since.elapsed().as_secs_f64();
                    self.shared.log.say("expected", &format!("{}, after {seconds:.1} s", expectation.what));
                }
                Err(seen) => {
                    if expectation.since.elapsed() > expectation.within {
                        missing.push((expectation.what.clone(), seen, expectation.since));
                    } else {
                        self.world.expectations.push(expectation);
                    }
                }
            }
        }
        for (what, seen, since) in &missing {
            self.shared.log.violation("expected", &format!("{what}: {seen}"), *since);
        }
    }

    fn await_expectations(&mut self) {
        while !self.world.expectations.is_empty() {
            self.look();
            self.probe();
            thread::sleep(TICK);
        }
    }

    /// Waits until the fleet has recovered, within `limit`: each replica accepts changes and is healthy, hosts hold the
    /// database's keys, and report no problem.
    fn settle(&mut self, after: &str, limit: Duration) {
        let began = Instant::now();
        let Err(wrong) = self.is_right_within(limit) else { return };
        let text = format!("{} s after {after}, all is not right: {wrong}", limit.as_secs());
        self.shared.log.violation("settled", &text, began);
        if self.keep_going {
            self.restart_all();
        }
        self.shared.conditions.is_right();
    }

    /// Restarts everything, so that a run can continue after a failed recovery.
    fn restart_all(&mut self) {
        self.shared.log.say("operator", "restarts everything");
        let active = self.shared.conditions.begin(Excuses { silent: true, ..Excuses::SERVICE }, 0);
        self.world.replicas.iter_mut().for_each(Replica::kill);
        self.world.replicas.iter_mut().for_each(Replica::launch);
        for host in &mut self.world.hosts {
            host.kill_syncd();
            host.start_syncd();
        }
        self.shared.conditions.end(active);
        if let Err(wrong) = self.is_right_within(RECOVERY) {
            self.shared.log.violation("settled", &format!("after a restart too: {wrong}"), Instant::now());
            self.is_lost = true;
        }
    }

    fn is_right_within(&mut self, limit: Duration) -> Result<(), String> {
        let began = Instant::now();
        self.served.iter().for_each(|served| served.forget());
        loop {
            self.look();
            match self.is_served().and_then(|()| self.agrees()) {
                Ok(()) => break,
                Err(wrong) if began.elapsed() > limit => return Err(wrong),
                Err(_) => thread::sleep(TICK),
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        self.shared.log.say("settled", &format!("after {seconds:.1} s: hosts hold what the database holds"));
        Ok(())
    }

    fn is_served(&self) -> Result<(), String> {
        for (number, served) in (1..).zip(&self.served) {
            if served.in_a_row() < SERVED_MIN {
                return Err(format!("replica {number} has not taken {SERVED_MIN} changes in a row"));
            }
        }
        if !self.shared.counts.is_served_for(SERVED_TIME) {
            return Err("changes of users are not taken, some or all".to_owned());
        }
        Ok(())
    }

    /// Compares everything while no changes are made.
    fn agrees(&mut self) -> Result<(), String> {
        let agreed = if self.shared.gate.pause(PAUSE_MAX) {
            self.compare()
        } else {
            Err("requests of users are still on their way".to_owned())
        };
        self.shared.gate.resume();
        agreed
    }

    fn compare(&mut self) -> Result<(), String> {
        let held = self.await_hosts()?;
        let model = &self.shared.model;
        let losses = self.shared.conditions.losses();
        let mut wrong = None;
        for (number, key) in model.keys().iter().enumerate() {
            let fingerprint = key.fingerprint.to_string();
            let is_present =
                held.iter().any(|(held, account, _)| *held == fingerprint && *account == key.account);
            if let Err(why) = model.settle(number, is_present, &losses) {
                self.shared.log.violation("database", &why, Instant::now());
                wrong = Some(why);
            }
        }
        self.shared.conditions.is_right();
        wrong.map_or(Ok(()), Err)
    }

    /// Waits until every host has the database's keys, and reports no problem; returns the keys.
    fn await_hosts(&self) -> Result<BTreeSet<Registered>, String> {
        const QUIET: Duration = Duration::from_secs(3);
        let began = Instant::now();
        loop {
            let held: BTreeSet<Registered> = self.world.database.keys()?.into_iter().collect();
            match self.differs(&held) {
                Ok(()) => return Ok(held),
                Err(wrong) if began.elapsed() > QUIET => return Err(wrong),
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    fn differs(&self, held: &BTreeSet<Registered>) -> Result<(), String> {
        for (number, host) in (1..).zip(&self.world.hosts) {
            let here = host.keys()?;
            if here != *held {
                return Err(format!("push-{number} and the database differ: {}", difference(&here, held)));
            }
        }
        self.standings_agree()?;
        for (number, host) in (1..).zip(&self.world.hosts) {
            let finished = host.push.pushkeys(&["status"]);
            if !finished.status.success() {
                let text = last_lines(&finished.stdout);
                return Err(format!(
                    "`pushkeys status` on push-{number} exits with {}: {text}",
                    finished.status
                ));
            }
        }
        Ok(())
    }

    /// Compares the positions of all hosts and replicas, and their digests if available.
    fn standings_agree(&self) -> Result<(), String> {
        let Some(token) = self.world.hosts.first().map(Host::token) else { return Ok(()) };
        for (number, replica) in (1..).zip(&self.world.replicas) {
            let there = standing_at(&replica.service.url(), &token)?;
            for (name, host) in (1..).zip(&self.world.hosts) {
                let here = host.standing();
                let is_same_digest =
                    here.digest.is_none() || there.digest.is_none() || here.digest == there.digest;
                if here.cursor != there.cursor || !is_same_digest {
                    return Err(format!("push-{name} is at {here:?}, and replica {number} at {there:?}"));
                }
            }
        }
        Ok(())
    }

    /// Ends all threads, checks everything a last time, and stops the fleet.
    fn end(self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.gate.resume();
        for thread in self.threads {
            let _ = thread.join();
        }
        for (number, host) in (1..).zip(&self.world.hosts) {
            let verified = host.push.pushkeys(&["verify"]);
            if !verified.status.success() && !self.shared.log.has_violation() {
                let text = format!(
                    "`pushkeys verify` exits with {}: {}",
                    verified.status,
                    last_lines(&verified.stdout)
                );
                self.shared.log.violation(&format!("push-{number}"), &text, Instant::now());
            }
            if self.shared.log.has_violation() {
                let status = host.push.pushkeys(&["status"]);
                self.shared.log.attach(&format!("push-{number}.status"), &(status.stdout + &verified.stdout));
                self.shared.log.attach(&format!("push-{number}.sshd.log"), &host.push.sshd.log());
            }
        }
        self.shared.log.copy_logs();
        let counts = &self.shared.counts;
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        for (what, peak) in self.peaks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.shared.log.note("peak", &format!("{what}: {peak}"));
        }
        let text = format!(
            "{} changes confirmed, {} not served, {} lookups, {} logins",
            count(&counts.confirmed),
            count(&counts.failed),
            count(&counts.lookups),
            count(&counts.logins)
        );
        self.shared.log.say("end", &text);
    }
}

/// A few of the keys that are only in one of both.
fn difference(here: &BTreeSet<Registered>, held: &BTreeSet<Registered>) -> String {
    const NAMED: usize = 3;
    let named = |one: &BTreeSet<Registered>, other: &BTreeSet<Registered>| {
        let missing: Vec<_> = one.difference(other).collect();
        let first = missing
            .iter()
            .take(NAMED)
            .map(|(fingerprint, account, id)| format!("{fingerprint} ({account}, {id})"));
        format!("{}: {}", missing.len(), first.collect::<Vec<_>>().join(", "))
    };
    format!("only on the host {}; only in the database {}", named(here, held), named(held, here))
}

/// The end of a program's output, on one line.
fn last_lines(text: &str) -> String {
    const LINES: usize = 2;
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(LINES)).copied().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_sides() {
        let one = |name: &str| (name.to_owned(), "acct_1".to_owned(), "key_1".to_owned());
        let text = difference(&BTreeSet::from([one("a"), one("b")]), &BTreeSet::from([one("b"), one("c")]));
        assert_eq!(text, "only on the host 1: a (acct_1, key_1); only in the database 1: c (acct_1, key_1)");
    }
}
