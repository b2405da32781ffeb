//! `/healthz` is right: a replica is healthy if it accepts a change, and unhealthy if it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pushkeys_tests::{Client, SyntheticKeys};
use reqwest::Method;
use serde_json::Value;

use crate::shared::Shared;
use crate::users::error_text;
use crate::world::World;

/// The interval of checks of a replica.
const PAUSE: Duration = Duration::from_millis(400);
/// The time limit of a request.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The reported health may be from a check some moments ago.
const DISAGREEMENT_MAX: Duration = Duration::from_secs(8);
/// A single disagreement may be caused by a fault that began during the check.
const ROUNDS_MIN: u32 = 2;
/// The seed of the keys of accounts for these checks.
const SEED: u64 = 1 << 40;

/// The state of a replica.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// The number of consecutive successful changes.
    in_a_row: AtomicU64,
}

impl Served {
    pub(crate) fn in_a_row(&self) -> u64 {
        self.in_a_row.load(Ordering::Relaxed)
    }

    /// Resets the count.
    pub(crate) fn forget(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
    }
}

/// Watches every replica of `world`.
pub(crate) fn start(world: &World) -> (Vec<Arc<Served>>, Vec<JoinHandle<()>>) {
    let probes = (1..).zip(world.probes.iter().zip(&world.replicas));
    let started = probes.map(|(number, (account, replica))| {
        let served = Arc::new(Served::default());
        let authorization = Some(format!("Bearer {}", account.token()));
        let key = SyntheticKeys::new(SEED + number).next().expect("keys without end");
        let probe = Probe {
            actor: format!("replica {number}"),
            client: Client::new(&replica.service.url(), authorization).within(ANSWER_TIME_MAX),
            text: Value::from(key.text).to_string(),
            is_put: false,
            disagrees: None,
            was_healthy: true,
            served: Arc::clone(&served),
            shared: Arc::clone(&world.shared),
        };
        (served, thread::spawn(move || probe.run()))
    });
    started.unzip()
}

struct Probe {
    actor: String,
    client: Client,
    text: String,
    is_put: bool,
    /// The time since which health and a change have disagreed, and how often.
    disagrees: Option<(Instant, u32)>,
    was_healthy: bool,
    served: Arc<Served>,
    shared: Arc<Shared>,
}

impl Probe {
    fn run(mut self) {
        while !self.shared.is_over() {
            let shared = Arc::clone(&self.shared);
            let permit = shared.gate.take();
            self.look();
            drop(permit);
            self.shared.rest(PAUSE);
        }
    }

    fn look(&mut self) {
        let began = Instant::now();
        let before = self.health();
        let written = self.write();
        let after = self.health();
        match &written {
            Ok(()) => self.served.in_a_row.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.served.in_a_row.swap(0, Ordering::Relaxed),
        };
        let is_healthy = before.is_ok() && after.is_ok();
        if is_healthy != self.was_healthy {
            self.was_healthy = is_healthy;
            let text = match (&before, &after) {
                (Ok(()), Ok(())) => "is healthy".to_owned(),
                (Err(why), _) | (_, Err(why)) => format!("is not healthy: {why}"),
            };
            self.shared.log.say(&self.actor, &text);
        }
        let lie = match (&before, &written, &after) {
            (Ok(()), Err(why), Ok(())) => Some(format!("/healthz says ok, and a change is not taken: {why}")),
            (Err(why), Ok(()), Err(_)) => Some(format!("/healthz says no ({why}), and a change is taken")),
            _ => None,
        };
        let Some(lie) = lie else {
            self.disagrees = None;
            return;
        };
        let (since, rounds) = self.disagrees.map_or((began, 1), |(since, rounds)| (since, rounds + 1));
        self.disagrees = Some((since, rounds));
        if rounds >= ROUNDS_MIN && since.elapsed() > DISAGREEMENT_MAX {
            self.shared.log.violation(&self.actor, &lie, since);
            self.disagrees = None;
        }
    }

    fn health(&self) -> Result<(), String> {
        match self.client.send(Method::GET, &["healthz"], None) {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
            Err(error) => Err(error_text(&error)),
        }
    }

    /// Adds a key, or removes it again. Success if it already exists, or does not exist.
    fn write(&mut self) -> Result<(), String> {
        self.is_put = !self.is_put;
        let path = ["v2", "self", "keys", "probe"];
        let reply = if self.is_put {
            self.client.send(Method::PUT, &path, Some(self.text.clone()))
        } else {
            self.client.send(Method::DELETE, &path, None)
        };
        match reply {
            Ok(reply) if reply.status < 500 => Ok(()),
            Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
            Err(error) => Err(error_text(&error)),
        }
    }
}
