//! `bench first-sync`: a sync of all keys to a host without any, with validation of each.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use pushkeys_tests::{HostFiles, Room, Service, Syncd};

use crate::report::{Report, Samples, ratio};
use crate::world::{RESIDENTS, import, resident_peak_kib, write_public_keys};

/// The limit of syncd's median, in medians of ssh-keygen.
const RATIO_MAX: f64 = 1.0;
const RESIDENT_MIB_MAX: f64 = 64.0;
const KIB_PER_MIB: f64 = 1024.0;
/// The interval of reading a running daemon's memory.
const GLANCE: Duration = Duration::from_millis(5);

#[derive(Args)]
#[command(after_help = "\
Imports real Ed25519 keys into a key service on SQLite, then in turn: `ssh-keygen -lf` prints the fingerprints
of all of them, and `pushkeys-syncd sync-once` fetches, validates and stores all of them in an empty cache.")]
pub(crate) struct Arguments {
    /// Keys at the service
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::temporary(), Service::start());
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let public_keys = write_public_keys(&room, RESIDENTS, arguments.keys);
    let mut hosts = Vec::new();
    let (mut keygen, mut syncd, mut resident_kib) = (Samples::default(), Samples::default(), 0_f64);
    for _ in 0..arguments.runs {
        let start = Instant::now();
        let mut command = Command::new("ssh-keygen");
        let status = command.arg("-lf").arg(&public_keys).stdout(Stdio::null()).status().expect("ssh-keygen");
        keygen.push(start.elapsed());
        assert!(status.success(), "ssh-keygen: {status}");
        // Caches are kept until the end: ext4 creates files slowly after thousands were removed within
        // the last minutes, and a new host has removed none.
        hosts.push(HostFiles::install());
        let host = hosts.last().expect("just made");
        let (took, peak) = sync_once(&service, host, arguments.keys);
        syncd.push(took);
        resident_kib = resident_kib.max(peak);
    }
    report.times("ssh-keygen -lf", &keygen, &keygen);
    report.times("pushkeys-syncd sync-once", &syncd, &keygen);
    report.at_most(
        "first sync, against ssh-keygen -lf",
        ratio(syncd.median(), keygen.median()),
        RATIO_MAX,
        "x",
    );
    report.at_most("pushkeys-syncd, resident", resident_kib / KIB_PER_MIB, RESIDENT_MIB_MAX, "MiB");
    let server_kib = resident_peak_kib(service.pid()).expect("the service is running");
    report.at_most("pushkeys-server, resident", server_kib / KIB_PER_MIB, RESIDENT_MIB_MAX, "MiB");
}

/// The duration of one sync into the empty cache of a new host, and the peak memory that was seen.
fn sync_once(service: &Service, files: &HostFiles, keys: usize) -> (Duration, f64) {
    let mut syncd = Syncd::configure(files.room(), &files.syncd_configuration(&files.source(service)));
    let start = Instant::now();
    syncd.start_once();
    let mut resident_kib = 0_f64;
    let status = loop {
        if let Some(peak) = resident_peak_kib(syncd.pid()) {
            resident_kib = resident_kib.max(peak);
        }
        if let Some(status) = syncd.ended() {
            break status;
        }
        std::thread::sleep(GLANCE);
    };
    let took = start.elapsed();
    assert!(status.success(), "pushkeys-syncd: {status}: {}", syncd.log());
    let cache = pushkeys_cache::Cache::open(files.cache()).expect("the cache");
    let source = cache.source(&"api".parse().expect("a source")).expect("the source");
    assert_eq!(source.head().keys, keys as u64, "every key is in the cache");
    (took, resident_kib)
}
