//! `bench propagation`: from a request at the API until the real sshd accepts, or refuses, the key.

use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use jiff::Timestamp;
use pushkeys_cache::{Cache, Verdict};
use pushkeys_tests::{Account, PATIENCE, PushHost, Room, Service, SyntheticKey, SyntheticKeys};

use crate::offer::{Outcome, offer};
use crate::report::{Report, Samples, millis};
use crate::world::{NEWCOMERS, RESIDENTS, import};

const MEDIAN_MAX_MS: f64 = 10.0;
const P99_MAX_MS: f64 = 50.0;
/// The pause between two lookups, which leaves the processors to the measured programs.
const PAUSE: Duration = Duration::from_micros(100);
/// Changes before the measurement, to warm up connections and caches.
const WARM_UP_RUNS: usize = 10;

#[derive(Args)]
#[command(after_help = "\
Stock ssh connects to real sshd through a proxy of ours, which holds back the packet in which ssh offers the key. At that
moment the key is registered (or deleted) by a request to the API, and as soon as a lookup in the cache finds it, the
offer goes on. The time counts from the beginning of the request until ssh knows that sshd accepts (or refuses) the key. It
is the earliest moment at which sshd could: it holds the service's commit, the daemon's work, that of sshd and of its
helper. A refusal also holds the time by which sshd delays each of them, whatever the reason (some 5 to 9 ms): so an
unknown key is offered in each round too, and what its refusal takes longer than an acceptance is given apart, and
subtracted for the figure.")]
pub(crate) struct Arguments {
    /// Keys in the cache
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Additions, and deletions, that are measured
    #[arg(long, default_value_t = 300)]
    runs: usize,
}

/// The measured change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Addition,
    Deletion,
}

/// The time until the cache had the change, and until sshd had it.
struct Took {
    in_cache: Duration,
    at_sshd: Duration,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::temporary(), Service::start());
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let host = PushHost::start(&service);
    let probe = Probe { account: service.account("ana"), host, room };
    let mut keys = SyntheticKeys::new(NEWCOMERS);
    let mut additions = (Samples::default(), Samples::default());
    let mut deletions = (Samples::default(), Samples::default());
    let (mut acceptances, mut refusals) = (Samples::default(), Samples::default());
    for number in 0..WARM_UP_RUNS + arguments.runs {
        let key = keys.next().expect("keys without end");
        let refusal = probe.refusal(&key);
        if number >= WARM_UP_RUNS {
            refusals.push(refusal);
        }
        for (change, samples) in [(Change::Addition, &mut additions), (Change::Deletion, &mut deletions)] {
            let took = probe.measure(&key, change);
            if number >= WARM_UP_RUNS {
                samples.0.push(took.in_cache);
                samples.1.push(took.at_sshd);
                if change == Change::Addition {
                    acceptances.push(took.at_sshd.saturating_sub(took.in_cache));
                }
            }
        }
    }
    report.times("addition, until the cache answers", &additions.0, &additions.0);
    report.times("deletion, until the cache answers", &deletions.0, &additions.0);
    report.times("addition, until sshd accepts", &additions.1, &additions.0);
    report.times("deletion, until sshd refuses", &deletions.1, &additions.0);
    report.times("a key in the cache, until sshd accepts", &acceptances, &additions.0);
    report.times("an unknown key, until sshd refuses", &refusals, &additions.0);
    let delay = millis(refusals.median()) - millis(acceptances.median());
    report.note(&format!("sshd delays each refusal by {delay:.1} ms (p50), which is not counted below"));
    for (what, samples, delay) in [
        ("addition, until sshd accepts", &additions.1, 0.0),
        ("deletion, until sshd refuses, less its delay", &deletions.1, delay),
    ] {
        report.at_most(&format!("{what}, p50"), millis(samples.median()) - delay, MEDIAN_MAX_MS, "ms");
        report.at_most(&format!("{what}, p99"), millis(samples.percentile(99)) - delay, P99_MAX_MS, "ms");
    }
}

struct Probe {
    account: Account,
    host: PushHost,
    room: Room,
}

impl Probe {
    /// The time in which sshd refuses an unknown key.
    fn refusal(&self, key: &SyntheticKey) -> Duration {
        let public_key = self.room.write("probe.pub", &key.text);
        let mut start = None;
        match offer(&self.host, &public_key, || start = Some(Instant::now())) {
            Outcome::Refused(end) => end - start.expect("ssh offered"),
            Outcome::Accepted(_) => panic!("sshd accepts an unregistered key"),
        }
    }

    fn measure(&self, key: &SyntheticKey, change: Change) -> Took {
        // ssh offers a key with its public half alone, and needs the private one only after sshd has accepted it.
        let public_key = self.room.write("probe.pub", &key.text);
        let (mut start, mut in_cache) = (None, None);
        let outcome = offer(&self.host, &public_key, || {
            start = Some(Instant::now());
            make(&self.account, key, change);
            self.wait_for_cache(key, change);
            in_cache = Some(Instant::now());
        });
        let (start, in_cache) = (start.expect("ssh offered"), in_cache.expect("ssh offered"));
        match (change, outcome) {
            (Change::Addition, Outcome::Accepted(end)) | (Change::Deletion, Outcome::Refused(end)) => {
                Took { in_cache: in_cache - start, at_sshd: end - start }
            }
            _ => panic!("sshd does not follow the {change:?} that is in the cache: {}", self.host.sshd.log()),
        }
    }

    fn wait_for_cache(&self, key: &SyntheticKey, change: Change) {
        let login = "git".parse().expect("a login");
        let cache = Cache::open(self.host.cache()).expect("the cache");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let now = Timestamp::try_from(SystemTime::now()).expect("the clock is right");
            let consulted = cache.consult(&key.fingerprint).expect("the cache can be read");
            let verdict = Verdict::of(consulted, &login, now).expect("an answer");
            if matches!(verdict, Verdict::Known { .. }) == (change == Change::Addition) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the cache does not follow the {change:?}: {}", self.host.syncd.log());
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
