//! `bench propagation`: from a request at the API until real sshd accepts, or refuses, the key.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cache::{Cache, Verdict};
use clap::Args;
use jiff::Timestamp;
use pushkeys_tests::{
    Account, Agent, Keeper, Login, PATIENCE, PushHost, Room, Service, SyntheticKey, SyntheticKeys,
};

use crate::report::{Report, Samples, millis};
use crate::world::{NEWCOMERS, RESIDENTS, import};

const MEDIAN_MAX_MS: f64 = 10.0;
const P99_MAX_MS: f64 = 50.0;
/// A change that needs more connections than this until sshd follows it is lost.
const CONNECTIONS_MAX: usize = 20;
/// Changes before those that count, while connections and caches warm up.
const WARM_UP_RUNS: usize = 10;

#[derive(Args)]
#[command(after_help = "\
Stock ssh connects to real sshd, exchanges keys, and then asks its agent, which is ours, for keys to offer. At that moment
the key is registered (or deleted) by a request to the API; when that is confirmed, the agent lets ssh offer the key. The time
counts from the beginning of the request until ssh learns that sshd accepts (or refuses) the key, so sshd's own work
counts too: some steps of its protocol, the helper, and for a refusal the 5 to 9 ms by which sshd always rounds it up.
An offer that came before the change was on the host is made again on a new connection while the time runs on.
`until the cache answers` is the same change without sshd: until a look-up in the cache knows of it.")]
pub(crate) struct Arguments {
    /// Keys in the cache
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Additions, and deletions, that are measured in each way
    #[arg(long, default_value_t = 300)]
    runs: usize,
}

/// The change of a key that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Addition,
    Deletion,
}

/// What sshd made of an offer, and when ssh knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted(Instant),
    Refused(Instant),
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::temporary(), Service::start());
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let host = PushHost::start(&service);
    let mut probe = Probe { account: service.account("ana"), host, early: 0 };
    let mut keys = SyntheticKeys::new(NEWCOMERS);
    let [mut added, mut deleted, mut known, mut unknown] = [(); 4].map(|()| Samples::default());
    for number in 0..WARM_UP_RUNS + arguments.runs {
        let key = keys.next().expect("keys without end");
        let at_sshd = [Change::Addition, Change::Deletion].map(|change| probe.at_sshd(&key, change));
        let in_cache = [Change::Addition, Change::Deletion].map(|change| probe.in_cache(&key, change));
        if number >= WARM_UP_RUNS {
            for (samples, took) in [&mut added, &mut deleted].into_iter().zip(at_sshd) {
                samples.push(took);
            }
            for (samples, took) in [&mut known, &mut unknown].into_iter().zip(in_cache) {
                samples.push(took);
            }
        }
    }
    for (what, samples) in [
        ("addition, until the cache answers", &known),
        ("deletion, until the cache answers", &unknown),
        ("addition, until sshd accepts", &added),
        ("deletion, until sshd refuses", &deleted),
    ] {
        report.times(what, samples, &known);
    }
    report.note(&format!("{} offers came too early and were made again", probe.early));
    for (what, samples) in
        [("addition, until sshd accepts", &added), ("deletion, until sshd refuses", &deleted)]
    {
        report.at_most(&format!("{what}, p50"), millis(samples.median()), MEDIAN_MAX_MS, "ms");
        report.at_most(&format!("{what}, p99"), millis(samples.percentile(99)), P99_MAX_MS, "ms");
    }
}

struct Probe {
    account: Account,
    host: PushHost,
    early: usize,
}

impl Probe {
    fn at_sshd(&mut self, key: &SyntheticKey, change: Change) -> Duration {
        let started = Arc::new(Mutex::new(None));
        let keeper = Messenger::new(&self.account, key, change, &started);
        let agent = Agent::start(keeper);
        for _ in 0..CONNECTIONS_MAX {
            let outcome = offer(&self.host, &agent);
            let start = started.lock().unwrap_or_else(PoisonError::into_inner).expect("ssh asked the agent");
            match (change, outcome) {
                (Change::Addition, Outcome::Accepted(end)) | (Change::Deletion, Outcome::Refused(end)) => {
                    return end - start;
                }
                _ => self.early += 1,
            }
        }
        panic!("sshd does not follow the {change:?}: {}", self.host.syncd.log());
    }

    fn in_cache(&self, key: &SyntheticKey, change: Change) -> Duration {
        let login = "git".parse().expect("a login");
        let cache = Cache::open(self.host.cache()).expect("the cache");
        let start = Instant::now();
        make(&self.account, key, change);
        loop {
            let now = Timestamp::try_from(SystemTime::now()).expect("the clock is right");
            let consulted = cache.consult(&key.fingerprint).expect("the cache can be read");
            let verdict = Verdict::of(consulted, &login, now).expect("an answer");
            if matches!(verdict, Verdict::Known { .. }) == (change == Change::Addition) {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "the cache does not follow the {change:?}");
        }
    }
}

/// An agent that makes a change when ssh first asks for keys, and then offers the changed key.
struct Messenger {
    account: Account,
    key: SyntheticKey,
    change: Option<Change>,
    started: Arc<Mutex<Option<Instant>>>,
}

impl Messenger {
    fn new(
        account: &Account,
        key: &SyntheticKey,
        change: Change,
        started: &Arc<Mutex<Option<Instant>>>,
    ) -> Self {
        let (account, key) = (account.clone(), key.clone());
        Self { account, key, change: Some(change), started: Arc::clone(started) }
    }
}

impl Keeper for Messenger {
    fn identities(&mut self) -> Vec<Vec<u8>> {
        if let Some(change) = self.change.take() {
            *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            make(&self.account, &self.key, change);
        }
        let base64 = self.key.text.split(' ').nth(1).expect("type base64");
        vec![STANDARD.decode(base64).expect("base64")]
    }

    fn sign(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

fn make(account: &Account, key: &SyntheticKey, change: Change) {
    let reply = match change {
        Change::Addition => account.tries_to_add(&key.text, "probe"),
        Change::Deletion => account.tries_to_remove("probe"),
    };
    let reply = reply.expect("the service answers");
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Connects with the agent's key, until ssh tells what sshd makes of it.
fn offer(host: &PushHost, agent: &Agent) -> Outcome {
    let identity_agent = format!("IdentityAgent={}", agent.socket().display());
    let arguments = ["-v", "-o", "IdentitiesOnly=no", "-o", &identity_agent];
    let mut command = Login::new(&host.sshd, "git").with_arguments(&arguments).into_command();
    let mut ssh =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ssh");
    let stderr = BufReader::new(ssh.stderr.take().expect("piped"));
    let (mut is_offered, mut outcome, mut told) = (false, None, String::new());
    for line in stderr.lines() {
        let line = line.expect("ssh writes text");
        is_offered |= line.contains("Offering public key");
        if line.contains("Server accepts key") {
            outcome = Some(Outcome::Accepted(Instant::now()));
        } else if is_offered && line.contains("Authentications that can continue") {
            outcome = Some(Outcome::Refused(Instant::now()));
        }
        if outcome.is_some() {
            break;
        }
        told = told + &line + "\n";
    }
    let _ = ssh.kill();
    let _ = ssh.wait();
    outcome.unwrap_or_else(|| panic!("ssh ended before sshd answered: {told}"))
}
