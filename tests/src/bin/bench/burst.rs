//! `bench burst`: how fast a host catches up on many changes.

use std::time::{Duration, Instant};

use clap::Args;
use pushkeys_tests::{PushHost, Room, Service};

use crate::report::Report;
use crate::world::{NEWCOMERS, RESIDENTS, import};

const CHANGES_PER_SECOND_MIN: f64 = 20_000.0;
/// The time limit of a host.
const TIME_MAX: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Args)]
#[command(after_help = "\
Imports keys, starts a host, stops its daemon, imports further keys, and measures from the daemon's start until its
cache holds all of them: connecting, receiving, validating, writing and syncing to the disk.")]
pub(crate) struct Arguments {
    /// Keys in the cache before
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Changes to catch up with
    #[arg(long, default_value_t = 200_000)]
    changes: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::temporary(), Service::start());
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let mut host = PushHost::start(&service);
    assert_eq!(keys_in_force(&host), arguments.keys, "the host is in sync");
    host.syncd.stop();
    import(&service, &room, NEWCOMERS, arguments.changes);

    let generation = head(&host).generation;
    let start = Instant::now();
    host.syncd.start();
    while keys_in_force(&host) < arguments.keys + arguments.changes {
        assert!(start.elapsed() < TIME_MAX, "the daemon does not catch up: {}", host.syncd.log());
        std::thread::sleep(PAUSE);
    }
    let took = start.elapsed();
    let is_snapshot = head(&host).generation != generation;
    let how = if is_snapshot { ", with a new generation on the way" } else { "" };
    report.note(&format!("{} changes in {:.2} s{how}", arguments.changes, took.as_secs_f64()));
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let per_second = arguments.changes as f64 / took.as_secs_f64();
    report.at_least("changes applied in a burst", per_second, CHANGES_PER_SECOND_MIN, "1/s");
}

fn head(host: &PushHost) -> pushkeys_cache::Head {
    let cache = pushkeys_cache::Cache::open(host.cache()).expect("the cache");
    cache.source(&"api".parse().expect("a source")).expect("the source").head().clone()
}

fn keys_in_force(host: &PushHost) -> usize {
    usize::try_from(head(host).keys).expect("a count of keys")
}
