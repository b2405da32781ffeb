//! A fleet on this machine: the service on its database, push hosts, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use pushkeys_tests::{
    Account, Balancer, Client, Clock, HostFiles, Key, PushHost, Room, SeededRng, Service, SmallDisk,
    SyntheticKeys, give_to_syncd,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::conditions::{Conditions, MAX_STALE};
use crate::database::{Database, Pair, Registered, Sqlite};
use crate::foreign::Foreign;
use crate::log::Log;
use crate::model::{Model, UserKey};
use crate::shared::{ChangeGate, Counts, Shared};

/// The kind of fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One service on SQLite, two hosts
    Sqlite,
    /// Two replicas on PostgreSQL with a standby, three hosts
    Postgres,
    /// One service on SQLite with more keys than fit in the buffers of a host that does not read, one host
    Large,
}

pub(crate) const USERS: usize = 4;
/// Keys that a user adds and removes, besides one that can log in.
const KEYS_PER_USER: usize = 11;
const RESIDENTS_PER_ACCOUNT: usize = 4;
/// The accounts in the folder of keys of each host.
pub(crate) const LOCAL: [&str; 2] = ["oncall", "night"];
/// The folder of keys, below the folder of a host's files.
const KEYS: &str = "etc/keys";
/// The time in which a host's daemon detects a silent service; there is a heartbeat each second.
const SILENCE_MAX: &str = "3s";
/// Longer than a host waits for its next snapshot, of which it asks for one a minute.
const FOREIGN_MAX_STALE: &str = "10m";
/// A large import takes some seconds.
const IMPORT_TIME_MAX: Duration = Duration::from_mins(5);
/// The seed of the abuser's keys.
const EVE_SEED: u64 = 1 << 43;
/// Not earlier than systemd.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// A service that ends earlier than this has failed to start.
const STARTUP_MAX: Duration = Duration::from_secs(20);

impl Kind {
    pub(crate) fn replicas(self) -> usize {
        match self {
            Self::Sqlite | Self::Large => 1,
            Self::Postgres => 2,
        }
    }

    pub(crate) fn hosts(self) -> usize {
        match self {
            Self::Sqlite => 2,
            Self::Postgres => 3,
            Self::Large => 1,
        }
    }

    /// The size of the disk of SQLite's database.
    pub(crate) fn database_mib(self) -> usize {
        match self {
            Self::Sqlite | Self::Postgres => 64,
            Self::Large => 256,
        }
    }

    /// The size of the disk of a host's cache: several times the cache.
    pub(crate) fn cache_mib(self) -> usize {
        match self {
            Self::Sqlite | Self::Postgres => 16,
            Self::Large => 64,
        }
    }

    /// The number of constant keys.
    fn residents(self) -> usize {
        match self {
            Self::Sqlite | Self::Postgres => 2_000,
            Self::Large => 30_000,
        }
    }
}

/// All parts of the fleet, in the order in which they are dropped.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) database: Database,
    /// The network between users and the service.
    pub(crate) front: Balancer,
    pub(crate) users: Vec<Account>,
    /// An account for each replica, whose changes check that it works.
    pub(crate) probes: Vec<Account>,
    pub(crate) residents: Vec<UserKey>,
    /// Their registrations, by fingerprint.
    pub(crate) resident_ids: BTreeMap<String, String>,
    /// The abuser's account, and two keys of it.
    pub(crate) eve: Account,
    pub(crate) eve_key: String,
    pub(crate) eve_other_key: String,
    /// The token of a compromised host.
    pub(crate) stolen_token: String,
    /// Private keys of users.
    _keys: Vec<Key>,
    /// Files that programs read throughout their lives.
    pub(crate) rooms: Vec<Room>,
    /// The expectations of the current fault.
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) kind: Kind,
}

/// A replica of the service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) service: Service,
    state: State,
    launched: Instant,
}

/// A push host.
#[derive(Debug)]
pub(crate) struct Host {
    /// The disk of its cache, a mount point in the folder of its files.
    pub(crate) disk: SmallDisk,
    pub(crate) push: PushHost,
    /// The network between it and the service.
    pub(crate) link: Balancer,
    /// The foreign service, which it follows, too, and the network to it.
    pub(crate) foreign: Foreign,
    pub(crate) foreign_way: Balancer,
    pub(crate) state: State,
}

/// The expected state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Frozen,
    Down,
}

/// Checks an expectation. The error describes the actual state.
pub(crate) type Probe = Box<dyn FnMut(&World) -> Result<(), String>>;

/// Something that must be true before a fault ends.
pub(crate) struct Expectation {
    pub(crate) what: String,
    pub(crate) since: Instant,
    pub(crate) within: Duration,
    /// The time of the last check.
    pub(crate) looked: Option<Instant>,
    pub(crate) probe: Probe,
}

impl std::fmt::Debug for Expectation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.what)
    }
}

impl World {
    /// Starts a fleet whose keys are those of `seed`.
    pub(crate) fn start(kind: Kind, seed: u64, log: &Arc<Log>) -> Self {
        log.say("world", &format!("starting: {kind:?}, {} hosts", kind.hosts()));
        let (database, replicas) = start_service(kind);
        let first = &replicas.first().expect("a replica").service;
        let addresses: Vec<String> =
            replicas.iter().map(|replica| replica.service.address().to_owned()).collect();
        let (residents, resident_ids) = import_residents(first, seed, kind.residents());
        let (eve, stolen_token) = (first.account("eve"), first.host_token("stolen"));
        let mut eves = SyntheticKeys::new(EVE_SEED).map(|key| key.text);
        let [eve_key, eve_other_key] = [(); 2].map(|()| eves.next().expect("keys without end"));
        let users: Vec<Account> =
            (1..=USERS).map(|number| first.account(&format!("user-{number}"))).collect();
        let probes = replicas.iter().zip(1..).map(|(replica, number)| {
            let account = first.account(&format!("probe-{number}"));
            account.at(&replica.service.url())
        });
        let probes = probes.collect();
        let (private, keys) = keys_of_users(&users, seed);
        let hosts = (0..kind.hosts()).map(|_| Host::start(kind, first, &addresses)).collect();
        let shared = Arc::new(Shared {
            log: Arc::clone(log),
            model: Model::new(keys),
            conditions: Conditions::default(),
            gate: ChangeGate::default(),
            is_over: false.into(),
            counts: Counts::default(),
        });
        let front = Balancer::start(addresses);
        let world = Self {
            hosts,
            replicas,
            database,
            front,
            users,
            probes,
            residents,
            resident_ids,
            eve,
            eve_key,
            eve_other_key,
            stolen_token,
            _keys: private,
            rooms: Vec::new(),
            expectations: Vec::new(),
            shared,
            kind,
        };
        world.keep_logs();
        log.say("world", "started");
        world
    }

    fn keep_logs(&self) {
        let log = &self.shared.log;
        for (number, replica) in (1..).zip(&self.replicas) {
            log.keeps(&format!("replica-{number}"), replica.service.room().join("server.log"));
        }
        for (number, host) in (1..).zip(&self.hosts) {
            log.keeps(&format!("push-{number}"), host.push.files().room().join("syncd.log"));
        }
        if let Database::Postgres(pair) = &self.database {
            for (number, server) in (1..).zip(pair.servers()) {
                log.keeps(&format!("postgres-{number}"), server.room().join("postgres.log"));
            }
        }
    }

    /// The addresses of the replicas.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.service.address().to_owned()).collect()
    }

    pub(crate) fn host(&mut self, number: usize) -> &mut Host {
        self.hosts.get_mut(number).expect("a host of the world")
    }

    pub(crate) fn replica(&mut self, number: usize) -> &mut Replica {
        self.replicas.get_mut(number).expect("a replica of the world")
    }

    /// Expects `what` before the fault ends, and within `within`; `probe` checks it.
    pub(crate) fn expects(
        &mut self,
        what: &str,
        within: Duration,
        probe: impl FnMut(&Self) -> Result<(), String> + 'static,
    ) {
        let since = Instant::now();
        self.expectations.push(Expectation {
            what: what.to_owned(),
            since,
            within,
            looked: None,
            probe: Box::new(probe),
        });
    }

    /// Restarts replicas that ended because their database was unavailable, like systemd; any other end is a violation.
    pub(crate) fn supervise(&mut self) {
        let shared = Arc::clone(&self.shared);
        for (number, replica) in (1..).zip(&mut self.replicas) {
            if replica.state == State::Down {
                continue;
            }
            let Some(status) = replica.service.ended() else { continue };
            let age = replica.launched.elapsed();
            if age < RESTART_AFTER {
                continue;
            }
            let actor = format!("replica {number}");
            if age < STARTUP_MAX && shared.conditions.excuses_write(Instant::now()) {
                shared.log.say(&actor, &format!("did not come up ({status}), and is started again"));
            } else {
                shared.log.violation(&actor, &format!("pushkeys-server ended: {status}"), replica.launched);
            }
            replica.launch();
        }
        for (number, host) in (1..).zip(&mut self.hosts) {
            if host.state == State::Down {
                continue;
            }
            if let Some(status) = host.push.syncd.ended() {
                let what = format!("pushkeys-syncd ended: {status}");
                shared.log.violation(&format!("push-{number}"), &what, Instant::now());
                host.start_syncd();
            }
        }
    }

    /// All processes with limited memory and descriptors: name, process id, and whether it is the service.
    pub(crate) fn processes(&self) -> Vec<(String, u32, bool)> {
        let mut processes = Vec::new();
        for (number, replica) in (1..).zip(&self.replicas) {
            if replica.state != State::Down {
                processes.push((format!("replica {number}"), replica.service.pid(), true));
            }
        }
        for (number, host) in (1..).zip(&self.hosts) {
            if host.state != State::Down {
                processes.push((format!("push-{number}"), host.push.syncd.pid(), false));
            }
        }
        processes
    }
}

impl Replica {
    fn of(service: Service) -> Self {
        Self { service, state: State::Running, launched: Instant::now() }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.state = State::Down;
        self.service.kill();
    }

    /// Sends SIGTERM; returns false if it did not end within its unit's time limit and was killed.
    pub(crate) fn stop(&mut self, limit: Duration) -> bool {
        if self.state != State::Running {
            self.kill();
            return true;
        }
        self.state = State::Down;
        let began = Instant::now();
        self.service.terminate();
        while began.elapsed() < limit {
            if self.service.ended().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.service.kill();
        false
    }

    /// Starts it without waiting until it answers.
    pub(crate) fn launch(&mut self) {
        self.service.launch();
        (self.state, self.launched) = (State::Running, Instant::now());
    }

    /// The same with a changed clock.
    pub(crate) fn launch_with_clock(&mut self, clock: Clock<'_>) {
        self.service.launch_with_clock(clock);
        (self.state, self.launched) = (State::Running, Instant::now());
    }

    pub(crate) fn freeze(&mut self) {
        self.state = State::Frozen;
        self.service.freeze();
    }

    pub(crate) fn thaw(&mut self) {
        self.state = State::Running;
        self.service.thaw();
    }
}

impl Host {
    fn start(kind: Kind, service: &Service, addresses: &[String]) -> Self {
        let link = Balancer::start(addresses.to_owned());
        let files = HostFiles::install();
        let disk = SmallDisk::mount(files.cache(), kind.cache_mib(), "pushkeys:pushkeys");
        // The folder of keys has no other files beside it.
        let keys = files.room().join(KEYS);
        fs::create_dir_all(&keys).expect("own directory");
        for name in LOCAL {
            write_local_key(&keys, name, &Key::ed25519());
        }
        give_to_syncd(&keys, 0o755);
        let foreign = Foreign::start();
        let foreign_way = Balancer::start(vec![format!("127.0.0.1:{}", foreign.port())]);
        // The users remove more keys in an hour than people do, and a daemon that restarts does not know which were new.
        let sources = format!(
            "max_stale = \"{}s\"\n{}silence_max = \"{SILENCE_MAX}\"\n\
             shrink_max = \"never\"\n\
             [[source]]\nname = \"other\"\nkind = \"feed\"\nurl = \"{}\"\nsilence_max = \"{SILENCE_MAX}\"\n\
             max_stale = \"{FOREIGN_MAX_STALE}\"\n\
             [[source]]\nname = \"local\"\nkind = \"directory\"\npath = \"{}\"\n",
            MAX_STALE.as_secs(),
            files.source(service).replace(&service.url(), &link.url()),
            foreign_way.url(),
            keys.display()
        );
        let push = PushHost::assemble(files, &sources, |_| {});
        Self { disk, push, link, foreign, foreign_way, state: State::Running }
    }

    /// The folder of its local keys.
    pub(crate) fn keys_folder(&self) -> PathBuf {
        self.push.files().room().join(KEYS)
    }

    /// Its token for the service.
    pub(crate) fn token(&self) -> String {
        let token = fs::read_to_string(self.push.files().room().join("token")).expect("own file");
        token.trim().to_owned()
    }

    /// `kill -9`.
    pub(crate) fn kill_syncd(&mut self) {
        self.state = State::Down;
        self.push.syncd.kill();
    }

    pub(crate) fn start_syncd(&mut self) {
        self.push.syncd.start();
        self.state = State::Running;
    }

    /// Starts the daemon with a changed clock.
    pub(crate) fn start_syncd_with_clock(&mut self, clock: Clock<'_>) {
        self.push.syncd.start_with_clock(clock);
        self.state = State::Running;
    }

    /// Starts the daemon with its watchdog socket at `socket`.
    pub(crate) fn start_syncd_watched(&mut self, socket: &Path) {
        self.push.syncd.start_watched(socket);
        self.state = State::Running;
    }

    pub(crate) fn freeze_syncd(&mut self) {
        self.state = State::Frozen;
        self.push.syncd.freeze();
    }

    pub(crate) fn thaw_syncd(&mut self) {
        self.state = State::Running;
        self.push.syncd.thaw();
    }

    /// All keys of the service in its cache.
    pub(crate) fn keys(&self) -> Result<BTreeSet<Registered>, String> {
        let finished = self.push.pushkeys(&["list", "--json"]);
        if !finished.status.success() {
            return Err(format!("`pushkeys list` fails: {}", finished.stderr.trim_end()));
        }
        let mut keys = BTreeSet::new();
        for line in finished.stdout.lines() {
            let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            if text("source") == "api" {
                keys.insert((text("fingerprint"), text("account"), text("key_id")));
            }
        }
        Ok(keys)
    }

    /// The position of the cache in the service's history.
    pub(crate) fn standing(&self) -> Standing {
        let head = fs::read_to_string(self.push.cache().join("api/HEAD")).unwrap_or_default();
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        // The cursor follows the digest of the rendering settings.
        let cursor = value("cursor").and_then(|cursor| cursor.rsplit(':').next());
        Standing { cursor: cursor.unwrap_or_default().to_owned(), digest: value("digest").map(str::to_owned) }
    }

    /// Whether its lookups fail, as after `max_stale`.
    pub(crate) fn refuses(&self, key: &UserKey) -> Result<(), String> {
        let answer = self.push.lookup("git", &key.fingerprint);
        if answer.code == Some(0) { Err(format!("a lookup answers: {answer:?}")) } else { Ok(()) }
    }
}

/// Writes the file of a local account atomically.
pub(crate) fn write_local_key(folder: &Path, account: &str, key: &Key) {
    let new = folder.join(format!(".{account}"));
    fs::write(&new, format!("{}\n", key.text())).expect("own file");
    fs::rename(new, folder.join(format!("{account}.pub"))).expect("own file");
}

fn start_service(kind: Kind) -> (Database, Vec<Replica>) {
    match kind {
        Kind::Sqlite | Kind::Large => {
            let sqlite = Sqlite::make(kind.database_mib());
            let service = Service::start_on_database(sqlite.url(), "");
            (Database::Sqlite(sqlite), vec![Replica::of(service)])
        }
        Kind::Postgres => {
            let pair = Pair::start(kind.replicas());
            let first = Service::start_on_database(pair.url(0), "");
            let others = (1..kind.replicas()).map(|number| {
                let mut other = first.replica();
                other.stop();
                other.move_to(pair.url(number));
                other.restart();
                other
            });
            let others: Vec<Service> = others.collect();
            let replicas = [first].into_iter().chain(others).map(Replica::of).collect();
            (Database::Postgres(Box::new(pair)), replicas)
        }
    }
}

/// Registers keys that stay constant.
fn import_residents(service: &Service, seed: u64, count: usize) -> (Vec<UserKey>, BTreeMap<String, String>) {
    let keys = SyntheticKeys::new(seed.wrapping_add(1)).take(count).enumerate();
    let named: Vec<(String, String, _)> = keys
        .map(|(number, key)| {
            let account = format!("resident-{}", number / RESIDENTS_PER_ACCOUNT);
            (account, format!("key-{}", number % RESIDENTS_PER_ACCOUNT), key)
        })
        .collect();
    let lines = named.iter().map(|(account, name, key)| {
        format!("{}\n", json!({"account": account, "name": name, "key": key.text}))
    });
    let file = service.room().write("residents.ndjson", &lines.collect::<String>());
    let _ = service
        .administers_within(&["import", "--create", &file.display().to_string()], IMPORT_TIME_MAX)
        .output();
    let held: Vec<_> = service.registrations().into_iter().collect();
    let accounts: BTreeMap<&str, &str> =
        held.iter().map(|one| (one.fingerprint.as_str(), one.account.as_str())).collect();
    let ids = held.iter().map(|one| (one.fingerprint.clone(), one.key_id.clone())).collect();
    let residents = named.into_iter().map(|(account_name, name, key)| UserKey {
        account: (*accounts.get(key.fingerprint.to_string().as_str()).expect("imported")).to_owned(),
        account_name,
        name,
        text: key.text,
        fingerprint: key.fingerprint,
        path: None,
    });
    (residents.collect(), ids)
}

fn keys_of_users(users: &[Account], seed: u64) -> (Vec<Key>, Vec<UserKey>) {
    let (mut private, mut keys) = (Vec::new(), Vec::new());
    for (number, user) in (1..).zip(users) {
        let (account, account_name) = (user.id().to_owned(), user.name().to_owned());
        let real = Key::ed25519();
        keys.push(UserKey {
            account: account.clone(),
            account_name: account_name.clone(),
            name: "laptop".to_owned(),
            text: real.bare_text(),
            fingerprint: real.fingerprint(),
            path: Some(real.path().to_owned()),
        });
        private.push(real);
        let synthetic = SyntheticKeys::new(seed.wrapping_add(1_000 + number)).take(KEYS_PER_USER);
        keys.extend(synthetic.enumerate().map(|(number, key)| UserKey {
            account: account.clone(),
            account_name: account_name.clone(),
            name: format!("key-{number}"),
            text: key.text,
            fingerprint: key.fingerprint,
            path: None,
        }));
    }
    (private, keys)
}

/// The position of a service, or a cache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) cursor: String,
    /// The digest of all keys, if available.
    pub(crate) digest: Option<String>,
}

/// The position of the current snapshot at `url`.
pub(crate) fn standing_at(url: &str, token: &str) -> Result<Standing, String> {
    let snapshot = snapshot_at(url, token, Duration::from_secs(5))?;
    let header = snapshot.lines().next().unwrap_or_default();
    let header: Value = serde_json::from_str(header).map_err(|error| format!("{error}: {header}"))?;
    let text = |field: &str| match header.get(field)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let parts = ["epoch", "sequence", "chain"].into_iter().filter_map(text);
    Ok(Standing { cursor: parts.collect::<Vec<_>>().join("-"), digest: text("digest") })
}

/// The snapshot of the service at `url` for the host with `token`.
pub(crate) fn snapshot_at(url: &str, token: &str, limit: Duration) -> Result<String, String> {
    let client = Client::new(url, Some(format!("Bearer {token}"))).within(limit);
    let reply = client.send(Method::GET, &["v1", "feed", "snapshot"], None);
    let reply = reply.map_err(|error| format!("no snapshot: {error}"))?;
    if reply.status == 200 {
        Ok(reply.body)
    } else {
        Err(format!("no snapshot: {} {}", reply.status, reply.body))
    }
}

/// The random numbers for the purpose `what` in a run.
pub(crate) fn rng(seed: u64, what: u64) -> SeededRng {
    // Sequences of similar seeds must not overlap.
    SeededRng::new(seed.wrapping_mul(0x1_0001).wrapping_add(what.wrapping_mul(0xd134_2543_de82_ef95)))
}
