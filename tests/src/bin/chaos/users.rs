//! Users who add and remove their keys all the time, with a short pause between requests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pushkeys_tests::{Client, SeededRng};
use reqwest::Method;
use serde_json::Value;

use crate::model::{May, Outcome};
use crate::shared::Shared;
use crate::world::{World, rng};

/// The time limits of users' requests: some are shorter, some longer than the service's own timeouts.
const PATIENCE: [Duration; 2] = [Duration::from_secs(8), PATIENCE_MAX];
/// Running requests end within this time.
pub(crate) const PATIENCE_MAX: Duration = Duration::from_secs(13);
/// The longest pause between two requests of a user, in milliseconds.
const THOUGHT_MS_MAX: u64 = 60;
const IMPATIENCE_MS_MAX: u64 = 15;
/// The number of a user's keys that change all the time.
const BUSY_KEYS: usize = 4;
/// One of this number of changes is for another key.
const QUIET_ONE_IN: u64 = 24;
/// The random numbers of users.
const RNG_STREAM: u64 = 100;

/// Starts one thread for each user of `world`.
pub(crate) fn start(world: &World, seed: u64) -> Vec<JoinHandle<()>> {
    let users = world.users.iter().zip(0_usize..);
    users
        .map(|(account, number)| {
            let authorization = Some(format!("Bearer {}", account.token()));
            let patience = PATIENCE.into_iter().cycle().nth(number).unwrap_or(PATIENCE_MAX);
            let client = Client::new(&world.front.url(), authorization).within(patience);
            let keys = world.shared.model.keys().iter().enumerate();
            let own = keys.filter(|(_, key)| key.account == account.id()).map(|(index, _)| index);
            let mut quiet: Vec<usize> = own.collect();
            let busy = quiet.split_off(quiet.len().saturating_sub(BUSY_KEYS));
            let user = User {
                name: account.name().to_owned(),
                client,
                busy,
                quiet,
                rng: rng(seed, RNG_STREAM + number as u64),
                failing_since: None,
                shared: Arc::clone(&world.shared),
            };
            thread::spawn(move || user.run())
        })
        .collect()
}

struct User {
    name: String,
    client: Client,
    /// The indices of the keys that the user changes all the time, and of those that stay unchanged for a while: a wrong state of
    /// the former on a host would never last long.
    busy: Vec<usize>,
    quiet: Vec<usize>,
    rng: SeededRng,
    failing_since: Option<Instant>,
    shared: Arc<Shared>,
}

impl User {
    fn run(mut self) {
        while !self.shared.is_over() {
            // Failed requests are retried with shorter pauses.
            let longest = if self.failing_since.is_some() { IMPATIENCE_MS_MAX } else { THOUGHT_MS_MAX };
            let thought = self.rng.below(longest);
            self.shared.rest(Duration::from_millis(thought));
            let shared = Arc::clone(&self.shared);
            let permit = shared.gate.take();
            self.change();
            drop(permit);
        }
    }

    fn change(&mut self) {
        let is_quiet = self.rng.below(QUIET_ONE_IN) == 0;
        let number = *self.rng.pick(if is_quiet { &self.quiet } else { &self.busy });
        let shared = Arc::clone(&self.shared);
        let key = shared.model.keys().get(number).expect("a key of the model");
        let before = shared.model.may_be(number, Instant::now());
        let is_put = match before {
            May::PRESENT => false,
            May::ABSENT => true,
            _ => self.rng.below(2) == 0,
        };
        let sent = Instant::now();
        let is_lossy = shared.conditions.is_lossy();
        let attempt = shared.model.sends(number, is_put);
        let path = ["v2", "self", "keys", &key.name];
        let reply = if is_put {
            self.client.send(Method::PUT, &path, Some(Value::from(key.text.as_str()).to_string()))
        } else {
            self.client.send(Method::DELETE, &path, None)
        };
        let (outcome, answer) = match &reply {
            Ok(reply) if reply.status == 200 => (Outcome::Confirmed, String::new()),
            Ok(reply) if (400..500).contains(&reply.status) => {
                (Outcome::Refused, format!("{} {}", reply.status, reply.body))
            }
            Ok(reply) => (Outcome::Unknown, format!("{} {}", reply.status, reply.body)),
            Err(error) => (Outcome::Unknown, error_text(error)),
        };
        let is_gone = reply.is_ok_and(|reply| reply.status == 404);
        let is_lossy = is_lossy || shared.conditions.is_lossy();
        // A response that the key does not exist equals its removal, unless it must exist.
        let is_removed = is_gone && (before != May::PRESENT || is_lossy);
        let outcome = if is_removed { Outcome::Confirmed } else { outcome };
        shared.model.ends(attempt, outcome);
        let what = format!("{} {}", if is_put { "adds" } else { "removes" }, key.name);
        if outcome == Outcome::Confirmed {
            self.is_served(&what, sent);
        } else if is_gone {
            let text = format!("the service says that {} is not there, which it had confirmed", key.name);
            shared.log.violation(&self.name, &text, sent);
        } else {
            self.is_not_served(&what, &answer, sent);
        }
    }

    fn is_served(&mut self, what: &str, sent: Instant) {
        let shared = &self.shared;
        let millis = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.counts.times.lock().unwrap_or_else(PoisonError::into_inner).push(millis);
        shared.counts.confirmed.fetch_add(1, Ordering::Relaxed);
        shared.log.note(&self.name, &format!("{what}: confirmed after {millis} ms"));
        if let Some(since) = self.failing_since.take()
            && shared.counts.unserved.fetch_sub(1, Ordering::Relaxed) == 1
            && shared.counts.is_told.swap(false, Ordering::Relaxed)
        {
            let seconds = since.elapsed().as_secs_f64();
            shared.log.say("users", &format!("all are served again, {} after {seconds:.1} s", self.name));
        }
    }

    fn is_not_served(&mut self, what: &str, answer: &str, sent: Instant) {
        let shared = &self.shared;
        shared.counts.failed.fetch_add(1, Ordering::Relaxed);
        *shared.counts.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let text = format!("{what}: {answer} after {} ms", sent.elapsed().as_millis());
        shared.log.note(&self.name, &text);
        if self.failing_since.is_none() {
            self.failing_since = Some(sent);
            if shared.counts.unserved.fetch_add(1, Ordering::Relaxed) == 0 {
                shared.log.say_sometimes("users", &format!("{} {text}", self.name), &shared.counts.is_told);
            }
        }
        if !self.shared.conditions.excuses_write(sent) {
            let text = format!("a change is not taken, though nothing excuses that: {answer}");
            self.shared.log.violation(&self.name, &text, sent);
        }
    }
}

/// Makes `count` changes for the first user, one after the other, each confirmed by the service: for
/// faults that need a certain number of changes, while the other users are paused.
pub(crate) fn change_by_hand(world: &World, count: usize) {
    let account = world.users.first().expect("a user").at(&world.front.url());
    let model = &world.shared.model;
    let own = model.keys().iter().enumerate().filter(|(_, key)| key.account == account.id());
    for (number, key) in own.take(count) {
        let is_put = !model.may_be(number, Instant::now()).present;
        let attempt = model.sends(number, is_put);
        if is_put {
            let reply = account.tries_to_add(&key.text, &key.name);
            assert!(reply.as_ref().is_ok_and(|reply| reply.status == 200), "{reply:?}");
        } else {
            let reply = account.tries_to_remove(&key.name);
            assert!(reply.as_ref().is_ok_and(|reply| reply.status < 500), "{reply:?}");
        }
        model.ends(attempt, Outcome::Confirmed);
        let what = if is_put { "adds" } else { "removes" };
        world.shared.log.say(account.name(), &format!("{what} {}: confirmed, by hand", key.name));
    }
}

/// The error with its causes, without the URL.
pub(crate) fn error_text(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer".to_owned() } else { "no answer, an error".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
