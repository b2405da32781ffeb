//! The answers of hosts: never a damaged line or another user's, and confirmed changes in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use pushkeys_cache::{Cache, Verdict};
use pushkeys_keys::{ErrorReport, Login};
use pushkeys_tests::{SeededRng, as_user, try_run_within};

use crate::conditions::Conditions;
use crate::foreign::Foreign;
use crate::model::{May, UserKey};
use crate::shared::Shared;
use crate::world::{World, rng};

/// The interval of checks of all keys of a host.
const PAUSE: Duration = Duration::from_millis(100);
/// The number of constant keys in each check.
const RESIDENTS_AT_ONCE: usize = 20;
/// The helper gives up after two seconds; on a busy machine it may start late.
const HELPER_TIME_MAX: Duration = Duration::from_secs(20);
/// A source may remove a fifth of its keys without confirmation (`shrink_max`), and one or two more by single events.
const SHRINK_PERCENT_MAX: usize = 24;
const RNG_STREAM: u64 = 200;

/// Starts a reader of each host.
pub(crate) fn start(world: &World, seed: u64) -> Vec<JoinHandle<()>> {
    let hosts = world.hosts.iter().enumerate();
    hosts
        .map(|(number, host)| {
            let residents = world.residents.iter().map(UserKey::clone_for_reader);
            let reader = Reader {
                actor: format!("push-{}", number + 1),
                number,
                cache: host.push.cache().to_owned(),
                helper: host.push.files().helper(),
                login: "git".parse().expect("a login"),
                residents: residents.collect(),
                foreign: Foreign::keys(false),
                ghosts: Foreign::keys(true),
                next: 0,
                rng: rng(seed, RNG_STREAM + number as u64),
                shared: Arc::clone(&world.shared),
                silent_since: None,
            };
            thread::spawn(move || reader.run())
        })
        .collect()
}

/// A host's answer for a key.
enum Said {
    /// The line for sshd.
    Line(String),
    Unknown,
    /// It cannot answer.
    Silence(String),
}

struct Reader {
    actor: String,
    number: usize,
    cache: PathBuf,
    helper: String,
    login: Login,
    residents: Vec<UserKey>,
    /// Keys of the foreign service, which are constant, too.
    foreign: Vec<UserKey>,
    /// Keys that were never registered.
    ghosts: Vec<UserKey>,
    /// The index of the next key to check.
    next: usize,
    rng: SeededRng,
    shared: Arc<Shared>,
    silent_since: Option<Instant>,
}

impl Reader {
    fn run(mut self) {
        while !self.shared.is_over() {
            self.look_at_users();
            self.look_at_residents();
            self.look_at_foreign();
            self.ask_helper();
            self.shared.rest(PAUSE);
        }
    }

    fn look_at_users(&mut self) {
        let shared = Arc::clone(&self.shared);
        for (number, key) in shared.model.keys().iter().enumerate() {
            let said = self.consult(key);
            self.check(number, key, &said);
        }
    }

    /// Checks that constant keys exist, some of them each time.
    fn look_at_residents(&mut self) {
        let residents = std::mem::take(&mut self.residents);
        for key in residents.iter().cycle().skip(self.next).take(RESIDENTS_AT_ONCE) {
            match self.consult(key) {
                Said::Unknown => {
                    let text = format!(
                        "does not know {} of {}, which never changes",
                        key.fingerprint, key.account_name
                    );
                    self.shared.log.violation(&self.actor, &text, Instant::now());
                }
                said => self.check_line(key, &said),
            }
        }
        self.next = (self.next + RESIDENTS_AT_ONCE) % residents.len().max(1);
        self.residents = residents;
    }

    /// Checks that the foreign service's keys exist, except the few that a source may remove without confirmation, and that
    /// keys it never had do not.
    fn look_at_foreign(&mut self) {
        let foreign = std::mem::take(&mut self.foreign);
        let said: Vec<_> = foreign.iter().map(|key| (key, self.consult(key))).collect();
        for (key, said) in &said {
            self.check_line(key, said);
        }
        let unknown = said.iter().filter(|(_, said)| matches!(said, Said::Unknown)).count();
        let may_be_gone = if self.shared.conditions.may_be_shrunk(self.number) {
            foreign.len() * SHRINK_PERCENT_MAX / 100
        } else {
            0
        };
        if unknown > may_be_gone {
            let text =
                format!("keys of the foreign service are gone: more than {may_be_gone} of {}", foreign.len());
            self.shared.log.violation(&self.actor, &text, Instant::now());
        }
        self.foreign = foreign;
        let ghosts = std::mem::take(&mut self.ghosts);
        for key in &ghosts {
            if matches!(self.consult(key), Said::Line(_)) {
                let text = format!("accepts {}, which no good answer ever had", key.fingerprint);
                self.shared.log.violation(&self.actor, &text, Instant::now());
            }
        }
        self.ghosts = ghosts;
    }

    /// Runs the helper as sshd does.
    fn ask_helper(&mut self) {
        let shared = Arc::clone(&self.shared);
        let keys = shared.model.keys();
        let number = usize::try_from(self.rng.below(keys.len() as u64)).expect("below a length");
        let key = keys.get(number).expect("a key of the model");
        let mut words = self.helper.split(' ');
        let mut command = as_user("pushkeys-lookup", words.next().expect("a program"));
        command.args(words).args(["git", &key.fingerprint.to_string()]);
        let said = match try_run_within(&mut command, HELPER_TIME_MAX) {
            Err(late) => Said::Silence(late),
            Ok(finished) => match (finished.status.code(), finished.stdout.strip_suffix('\n')) {
                (Some(0), None) if finished.stdout.is_empty() => Said::Unknown,
                (Some(0), Some(line)) => Said::Line(line.to_owned()),
                _ if finished.stdout.is_empty() => {
                    Said::Silence(format!("pushkeys-lookup: {}", finished.status))
                }
                _ => Said::Line(finished.stdout),
            },
        };
        shared.counts.lookups.fetch_add(1, Ordering::Relaxed);
        self.check(number, key, &said);
    }

    fn consult(&self, key: &UserKey) -> Said {
        self.shared.counts.lookups.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::try_from(SystemTime::now()).expect("the clock is right");
        let consulted = Cache::open(&self.cache).and_then(|cache| cache.consult(&key.fingerprint));
        let consulted = match consulted {
            Ok(consulted) => consulted,
            Err(error) => return Said::Silence(ErrorReport::of(&error).to_string()),
        };
        match Verdict::of(consulted, &self.login, now) {
            Ok(Verdict::Known { entry, .. }) => Said::Line(entry.line.as_str().to_owned()),
            Ok(_) => Said::Unknown,
            Err(error) => Said::Silence(ErrorReport::of(&error).to_string()),
        }
    }

    /// Compares the answer for a user's key with what was confirmed.
    fn check(&mut self, number: usize, key: &UserKey, said: &Said) {
        self.check_line(key, said);
        let conditions = &self.shared.conditions;
        if conditions.is_lossy() {
            return;
        }
        let may = self.shared.model.may_be(number, conditions.horizon(self.number));
        let what = format!("{} of {} ({})", key.name, key.account_name, key.fingerprint);
        let wrong = match said {
            Said::Line(_) if !may.present => {
                format!("accepts {what}, which was removed and is not to be accepted any more")
            }
            Said::Line(_) if self.is_stale(number) => {
                format!("accepts {what}, which was removed longer than `max_stale` ago")
            }
            Said::Unknown if !may.absent => {
                format!("does not know {what}, which was confirmed")
            }
            _ => return,
        };
        // The conditions may have changed between the question and its answer.
        if self.shared.model.may_be(number, conditions.horizon(self.number)) == may {
            self.shared.log.violation(&self.actor, &wrong, Instant::now());
        }
    }

    fn is_stale(&self, number: usize) -> bool {
        self.shared.model.may_be(number, Conditions::stale_horizon()) == May::ABSENT
    }

    /// Checks that a line is complete and the key owner's, and that lookups answer.
    fn check_line(&mut self, key: &UserKey, said: &Said) {
        match said {
            Said::Line(line) => {
                self.silent_since = None;
                let is_whole = line.starts_with("restrict,command=\"/")
                    && line.contains(&format!(" --account {} --key key_", key.account))
                    && line.ends_with(&format!(" --fingerprint {}\" {}", key.fingerprint, key.text));
                if !is_whole {
                    let text = format!("a wrong line for {} of {}: {line}", key.name, key.account_name);
                    self.shared.log.violation(&self.actor, &text, Instant::now());
                }
            }
            Said::Unknown => self.silent_since = None,
            Said::Silence(why) => {
                let since = *self.silent_since.get_or_insert_with(Instant::now);
                if !self.shared.conditions.may_be_silent(self.number) {
                    self.shared.log.violation(&self.actor, &format!("a lookup has no answer: {why}"), since);
                }
            }
        }
    }
}

impl UserKey {
    fn clone_for_reader(&self) -> Self {
        Self {
            account: self.account.clone(),
            account_name: self.account_name.clone(),
            name: self.name.clone(),
            text: self.text.clone(),
            fingerprint: self.fingerprint,
            path: None,
        }
    }
}
