//! Three replicas with one PostgreSQL: a key has one owner, hosts have the database's keys, and
//! all get the same changes in the same order; also when a replica is killed, or the database is unavailable for a while.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use pushkeys_tests::{
    Account, Balancer, Client, PostgresDatabase, PostgresServer, Process, PushHost, Room, SeededRng, Service,
    SyntheticKey, SyntheticKeys, until,
};
use reqwest::Method;
use serde_json::Value;

const ACCOUNTS: usize = 200;
const KEYS: usize = 1_000;
const ATTEMPTS_PER_ACCOUNT: u64 = 25;

/// Accounts with the token `token-N`, as the service would write them.
const MAKE_ACCOUNTS: &str = "
INSERT INTO accounts (id, name, created_at)
    SELECT 'acct_' || n, 'user-' || n, 0 FROM generate_series(0, 199) n;
INSERT INTO tokens (id, account, bearer_sha256, oauth_token, created_at)
    SELECT 'token_' || name, number, sha256(convert_to('token-' || name, 'UTF8')), 'oauth-' || name, 0 FROM accounts;
";

/// Three replicas and what they share, in the order in which they are dropped.
struct World {
    accounts: Vec<Account>,
    replicas: Vec<Service>,
    _database: PostgresDatabase,
    server: PostgresServer,
}

impl World {
    fn start() -> Self {
        let server = PostgresServer::start();
        let database = server.database();
        let first = Service::start_on_postgres(database.url());
        assert_eq!(database.query(MAKE_ACCOUNTS), "");
        let mut replicas = vec![first];
        for _ in 0..2 {
            let replica = replicas.iter().map(Service::replica).next().expect("the first one");
            replicas.push(replica);
        }
        let account = |number: usize| {
            let name = format!("user-{number}");
            let replica = replicas.get(number % replicas.len()).expect("one of three");
            replica.account_of(&name, &format!("acct_{number}"), &format!("token-{name}"))
        };
        let accounts = (0..ACCOUNTS).map(account).collect();
        Self { accounts, replicas, _database: database, server }
    }

    fn first(&self) -> &Service {
        self.replicas.first().expect("three replicas")
    }
}

/// All changes that one replica sends, from the beginning.
struct Listener {
    _process: Process,
    file: PathBuf,
}

impl Listener {
    fn start(room: &Room, service: &Service, token: &str, epoch: &str) -> Self {
        let file = room.join(&service.address().replace(':', "-"));
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--header", &format!("Authorization: Bearer {token}")]);
        command.args(["--header", &format!("Last-Event-ID: {epoch}-0")]);
        command.arg(format!("{}/v1/feed/changes", service.url()));
        Self { _process: Process::spawn("curl", command, &file), file }
    }

    /// The events except heartbeats, in their order, each with its id.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let events = text.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n"));
        events.filter(|event| !event.contains("event: heartbeat")).map(str::to_owned).collect()
    }

    fn heartbeats(&self) -> usize {
        fs::read_to_string(&self.file).unwrap_or_default().matches("event: heartbeat").count()
    }
}

/// Epoch and sequence of the snapshot for `token`.
fn head(service: &Service, token: &str) -> (String, u64) {
    let client = Client::new(&service.url(), Some(format!("Bearer {token}")));
    let reply = client.send(Method::GET, &["v1", "feed", "snapshot"], None).expect("a snapshot");
    let header: Value = serde_json::from_str(reply.body.lines().next().expect("a header")).expect("JSON");
    let epoch = header.get("epoch").and_then(Value::as_str).expect("an epoch");
    (epoch.to_owned(), header.get("sequence").and_then(Value::as_u64).expect("a number"))
}

/// One account adds and removes keys that all others add, too.
fn contest(account: &Account, keys: &Arc<Vec<SyntheticKey>>, seed: u64) -> JoinHandle<(u64, u64)> {
    let (account, keys, mut rng) = (account.clone(), Arc::clone(keys), SeededRng::new(seed));
    thread::spawn(move || {
        let (mut confirmed, mut refused) = (0, 0);
        for _ in 0..ATTEMPTS_PER_ACCOUNT {
            // Few names, so that keys also replace each other.
            let name = format!("key-{}", rng.below(8));
            let reply = if rng.below(4) == 0 {
                account.tries_to_remove(&name)
            } else {
                account.tries_to_add(&rng.pick(&keys).text, &name)
            };
            let reply = reply.expect("an answer");
            match reply.status {
                200 => confirmed += 1,
                400 | 404 => refused += 1,
                _ => panic!("{reply:?}"),
            }
        }
        (confirmed, refused)
    })
}

#[test]
fn concurrent_registrations_on_three_replicas_give_one_owner_and_one_order() {
    let world = World::start();
    let room = Room::temporary();
    let token = world.first().host_token("listener");
    let (epoch, _) = head(world.first(), &token);
    let hosts: Vec<PushHost> = world.replicas.iter().map(PushHost::start).collect();
    let listeners: Vec<Listener> =
        world.replicas.iter().map(|replica| Listener::start(&room, replica, &token, &epoch)).collect();

    let keys = Arc::new(SyntheticKeys::new(0).take(KEYS).collect::<Vec<_>>());
    let users: Vec<_> =
        world.accounts.iter().zip(0..).map(|(user, seed)| contest(user, &keys, seed)).collect();
    let (mut confirmed, mut refused) = (0, 0);
    for user in users {
        let (more_confirmed, more_refused) = user.join().expect("every answer is one of ours");
        confirmed += more_confirmed;
        refused += more_refused;
    }
    assert!(confirmed > 0 && refused > 0, "{confirmed} confirmed, {refused} refused");

    let held = world.first().registrations();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for account in &world.accounts {
        for (_, fingerprint) in account.keys() {
            let former = owners.insert(fingerprint.clone(), account.id().to_owned());
            assert_eq!(former, None, "{fingerprint} has two owners");
        }
    }
    let of_database = held.iter().map(|one| (one.fingerprint.clone(), one.account.clone()));
    assert_eq!(owners, of_database.collect());
    for (host, replica) in hosts.iter().zip(&world.replicas) {
        until("cache and database are equal", || host.registrations() == held);
        assert_eq!(replica.registrations(), held);
    }

    let (_, last) = head(world.first(), &token);
    let expected: Vec<String> = (1..=last).map(|sequence| format!("id: {epoch}-{sequence}\n")).collect();
    let mut sent = Vec::new();
    for listener in &listeners {
        until("everything was sent", || listener.events().len() >= expected.len());
        let events = listener.events();
        let ids = events
            .iter()
            .filter_map(|event| event.split_inclusive('\n').find(|line| line.starts_with("id:")));
        assert_eq!(ids.collect::<Vec<_>>(), expected);
        sent.push(events);
    }
    assert!(sent.windows(2).all(|pair| pair.first() == pair.last()), "all replicas sent the same");
    println!("{confirmed} confirmed, {refused} refused, {last} changes, {} keys held", held.len());
}

/// Adds and removes keys until the end, regardless of errors.
fn change(
    account: Account,
    keys: Vec<SyntheticKey>,
    over: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (over, done, mut rng) = (Arc::clone(over), Arc::clone(done), SeededRng::new(7));
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let number = rng.below(keys.len() as u64);
            let (key, name) = (
                keys.get(usize::try_from(number).expect("small")).expect("in bounds"),
                format!("key-{number}"),
            );
            let reply = if rng.below(3) == 0 {
                account.tries_to_remove(&name)
            } else {
                account.tries_to_add(&key.text, &name)
            };
            if reply.is_ok_and(|reply| reply.status == 200) {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
}

#[test]
fn no_host_misses_a_change_after_the_loss_of_a_replica_or_the_database() {
    let mut world = World::start();
    let room = Room::temporary();
    let balancer =
        Balancer::start(world.replicas.iter().map(|replica| replica.address().to_owned()).collect());
    let hosts: Vec<PushHost> = (0..2).map(|_| PushHost::start_at(world.first(), &balancer.url())).collect();
    let token = world.first().host_token("listener");
    let (over, done) = (Arc::default(), Arc::new(AtomicU64::new(0)));
    let user = world.accounts.first().expect("many").at(&balancer.url());
    let user = change(user, SyntheticKeys::new(1).take(50).collect(), &over, &done);
    let changes_go_on = |what: &str| {
        let enough = done.load(Ordering::Relaxed) + 30;
        until(what, || done.load(Ordering::Relaxed) >= enough);
    };
    changes_go_on("changes reach the service");

    for number in 0..2 {
        let replica = world.replicas.get_mut(number).expect("one of three");
        replica.kill();
        changes_go_on("others serve while a replica is dead");
        replica.restart();
    }

    let (epoch, _) = head(world.first(), &token);
    let listener = Listener::start(&room, world.first(), &token, &epoch);
    until("a heartbeat is sent", || listener.heartbeats() > 0);
    world.server.kill();
    let asks = Client::new(&world.first().url(), None);
    until("the database is unavailable for all replicas", || {
        asks.send(Method::GET, &["healthz"], None).is_ok_and(|reply| reply.status == 503)
    });
    let heartbeats = listener.heartbeats();
    // Each response takes several heartbeats, since requests wait for a connection.
    for _ in 0..2 {
        let answer =
            world.accounts.first().expect("many").tries_to_add("ssh-ed25519 A", "x").expect("an answer");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("try again in a minute"), "{answer:?}");
    }
    assert_eq!(listener.heartbeats(), heartbeats, "no heartbeat without a readable database");
    world.server.restart();
    until("heartbeats are sent again", || listener.heartbeats() > heartbeats);
    changes_go_on("the replicas found the database again");

    over.store(true, Ordering::Relaxed);
    user.join().expect("a user");
    for host in &hosts {
        until("cache and database are equal", || host.registrations() == world.first().registrations());
        let verified = host.pushkeys(&["verify"]);
        assert!(verified.status.success(), "{verified:?}");
    }
    let replicas: Vec<_> = world.replicas.iter().map(Service::registrations).collect();
    assert!(replicas.windows(2).all(|pair| pair.first() == pair.last()));
}
