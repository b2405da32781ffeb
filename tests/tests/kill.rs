//! `kill -9` of daemon and service at random moments during thousands of changes: no reader ever sees a torn answer,
//! confirmed changes stay, and in the end cache and database are equal.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use pushkeys_cache::{Cache, Verdict};
use pushkeys_keys::Login;
use pushkeys_tests::{
    Account, HostFiles, LookupOutput, PushHost, SeededRng, Service, SyntheticKey, SyntheticKeys, run, until,
};

const ACCOUNTS: u64 = 4;
const KEYS_PER_ACCOUNT: usize = 200;
const CHANGES: u64 = 4_000;
/// The maximum number of changes between two kills, which so hit every phase of a change.
const CHANGES_BETWEEN_KILLS_MAX: u64 = 120;

/// The progress of the changes.
#[derive(Debug, Default)]
struct Progress {
    changes: AtomicU64,
    answers: AtomicU64,
    is_over: AtomicBool,
}

/// An account, and the only keys that it registers.
#[derive(Debug, Clone)]
struct User {
    account: Account,
    keys: Vec<SyntheticKey>,
}

/// Whether a key is registered, by its name; `None` if a later request was not answered.
type Confirmed = BTreeMap<String, Option<bool>>;

#[test]
fn no_kill_loses_a_confirmed_change_or_tears_an_answer() {
    let mut rng = SeededRng::from_environment();
    let mut service = Service::start();
    let mut host = start_host(&service);
    let users: Vec<User> = (0..ACCOUNTS).map(|number| user(&service, number)).collect();
    let progress = Arc::new(Progress::default());

    let readers = [read_by_crate(&users, host.cache(), &progress), read_by_helper(&users, &host, &progress)];
    let writers: Vec<_> = users.iter().zip(1..).map(|(user, seed)| change(user, seed, &progress)).collect();
    let mut kills = 0;
    while !writers.iter().all(JoinHandle::is_finished) {
        let enough = progress.changes.load(Ordering::Relaxed) + 1 + rng.below(CHANGES_BETWEEN_KILLS_MAX);
        until("changes continue", || {
            progress.changes.load(Ordering::Relaxed) >= enough || writers.iter().all(JoinHandle::is_finished)
        });
        kill_somebody(&mut rng, &mut service, &mut host);
        kills += 1;
    }
    let confirmed: Vec<Confirmed> =
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();

    until("cache and database are equal", || host.registrations() == service.registrations());
    progress.is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("no reader saw a wrong answer");
    }
    for (user, confirmed) in users.iter().zip(&confirmed) {
        assert_confirmed(user, confirmed);
    }
    let verified = host.pushkeys(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    println!("{kills} kills, {} answers during {CHANGES} changes", progress.answers.load(Ordering::Relaxed));
}

/// A host that holds no removal back: within an hour, there are more than its keys, and a daemon that was killed does not know
/// which of them were new.
fn start_host(service: &Service) -> PushHost {
    let files = HostFiles::install();
    let source = format!("{}shrink_max = \"never\"\n", files.source(service));
    PushHost::assemble(files, &source, |_| {})
}

fn user(service: &Service, number: u64) -> User {
    let account = service.account(&format!("user-{number}"));
    User { account, keys: SyntheticKeys::new(number).take(KEYS_PER_ACCOUNT).collect() }
}

fn kill_somebody(rng: &mut SeededRng, service: &mut Service, host: &mut PushHost) {
    let victims = rng.below(3);
    if victims != 0 {
        service.kill();
    }
    if victims != 1 {
        host.syncd.kill();
        host.syncd.start();
    }
    if victims != 0 {
        service.restart();
    }
}

/// Adds and removes keys of `user` at random, each under its own name, until there are enough changes.
fn change(user: &User, seed: u64, progress: &Arc<Progress>) -> JoinHandle<Confirmed> {
    let (user, progress, mut rng) = (user.clone(), Arc::clone(progress), SeededRng::new(seed));
    thread::spawn(move || {
        let mut confirmed = Confirmed::new();
        while progress.changes.load(Ordering::Relaxed) < CHANGES {
            let key = rng.pick(&user.keys);
            let name = key.fingerprint.to_string().split_off("SHA256:".len()).replace(['/', '+'], "-");
            let is_added = confirmed.get(&name).copied().flatten().unwrap_or(false);
            let reply = if is_added {
                user.account.tries_to_remove(&name)
            } else {
                user.account.tries_to_add(&key.text, &name)
            };
            match reply {
                Ok(reply) if reply.status == 200 => {
                    confirmed.insert(name, Some(!is_added));
                    progress.changes.fetch_add(1, Ordering::Relaxed);
                }
                // An earlier unanswered removal succeeded.
                Ok(reply) if reply.status == 404 => {
                    confirmed.insert(name, Some(false));
                }
                Ok(reply) if reply.status < 500 => panic!("{name}: {reply:?}"),
                // The change may have been applied or not.
                Ok(_) | Err(_) => {
                    confirmed.insert(name, None);
                }
            }
        }
        confirmed
    })
}

/// The owner of each key, by fingerprint.
fn owners(users: &[User]) -> Vec<(SyntheticKey, String)> {
    let of = |user: &User| {
        user.keys.iter().map(|key| (key.clone(), user.account.id().to_owned())).collect::<Vec<_>>()
    };
    users.iter().flat_map(of).collect()
}

/// Panics unless `line` is empty, or the whole line of `owner`'s key.
#[track_caller]
fn assert_whole(line: &str, key: &SyntheticKey, owner: &str) {
    let is_whole = line.starts_with("restrict,command=\"/")
        && line.contains(&format!(" --account {owner} --key key_"))
        && line.ends_with(&format!(" --fingerprint {}\" {}", key.fingerprint, key.text));
    assert!(line.is_empty() || is_whole, "{owner}, {key:?}: {line}");
}

fn read_by_crate(users: &[User], cache: &Path, progress: &Arc<Progress>) -> JoinHandle<()> {
    let (owners, cache, progress) = (owners(users), cache.to_owned(), Arc::clone(progress));
    let (login, mut rng): (Login, _) = ("git".parse().expect("a login"), SeededRng::new(u64::MAX));
    thread::spawn(move || {
        while !progress.is_over.load(Ordering::Relaxed) {
            let (key, owner) = rng.pick(&owners);
            let now = jiff::Timestamp::try_from(SystemTime::now()).expect("the clock is right");
            let consulted = Cache::open(&cache).and_then(|cache| cache.consult(&key.fingerprint));
            match Verdict::of(consulted.expect("the cache can be read"), &login, now) {
                Ok(Verdict::Known { entry, .. }) => assert_whole(entry.line.as_str(), key, owner),
                Ok(_) => {}
                Err(error) => panic!("no answer: {error:?}"),
            }
            progress.answers.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn read_by_helper(users: &[User], host: &PushHost, progress: &Arc<Progress>) -> JoinHandle<()> {
    let (owners, progress, mut rng) = (owners(users), Arc::clone(progress), SeededRng::new(u64::MAX / 3));
    let helper = host.files().helper();
    thread::spawn(move || {
        while !progress.is_over.load(Ordering::Relaxed) {
            let (key, owner) = rng.pick(&owners);
            let mut words = helper.split(' ');
            let mut command = pushkeys_tests::as_user("pushkeys-lookup", words.next().expect("a program"));
            let answer =
                LookupOutput::from(run(command.args(words).arg("git").arg(key.fingerprint.to_string())));
            assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
            assert_whole(answer.stdout.trim_end_matches('\n'), key, owner);
            progress.answers.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[track_caller]
fn assert_confirmed(user: &User, confirmed: &Confirmed) {
    let present: BTreeSet<String> = user.account.keys().into_iter().map(|(name, _)| name).collect();
    for (name, is_added) in confirmed {
        if let Some(is_added) = is_added {
            assert_eq!(present.contains(name), *is_added, "{} {name}", user.account.name());
        }
    }
}
