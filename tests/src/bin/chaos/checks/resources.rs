//! Memory, descriptors, threads and files stay within limits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::database::{Database, Sqlite};
use crate::shared::Shared;
use crate::world::World;

const PAUSE: Duration = Duration::from_secs(1);
/// The limit of the service's memory in a test build: the aim is 128 MiB in a release build, with 300 sign-ins.
const SERVER_MIB_MAX: u64 = 128;
/// The limit of a daemon's memory, for some hundred keys.
const SYNCD_MIB_MAX: u64 = 64;
/// Connections of hosts, users and the database, and files; an abuser may hold some hundred more.
const SERVER_DESCRIPTORS_MAX: u64 = 1_200;
const SYNCD_DESCRIPTORS_MAX: u64 = 128;
const THREADS_MAX: u64 = 600;
/// SQLite's log may grow to this share of its disk during a long read.
const WAL_DISK_SHARE: u64 = 4;
/// A cache, including the previous generation, may take at most this share of its disk.
const CACHE_DISK_SHARE: u64 = 2;
const MIB: u64 = 1024 * 1024;

/// The processes to watch: name, process id, and whether it is the service.
pub(crate) type Processes = Arc<Mutex<Vec<(String, u32, bool)>>>;

/// The peak of each resource.
pub(crate) type Peaks = Arc<Mutex<BTreeMap<String, u64>>>;

/// Watches the `processes`, and the folders of `world`.
pub(crate) fn start(world: &World, processes: &Processes, peaks: &Peaks) -> JoinHandle<()> {
    let caches = (1..)
        .zip(&world.hosts)
        .map(|(number, host)| (format!("push-{number}"), host.push.cache().to_owned()));
    let watcher = Watcher {
        processes: Arc::clone(processes),
        peaks: Arc::clone(peaks),
        caches: caches.collect(),
        cache_mib_max: world.kind.cache_mib() as u64 / CACHE_DISK_SHARE,
        wal_mib_max: world.kind.database_mib() as u64 / WAL_DISK_SHARE,
        wal: match &world.database {
            Database::Sqlite(sqlite) => Some(sqlite.folder().to_owned()),
            Database::Postgres(_) => None,
        },
        shared: Arc::clone(&world.shared),
    };
    thread::spawn(move || {
        while !watcher.shared.is_over() {
            watcher.look();
            watcher.shared.rest(PAUSE);
        }
    })
}

struct Watcher {
    processes: Processes,
    peaks: Peaks,
    caches: Vec<(String, PathBuf)>,
    cache_mib_max: u64,
    wal: Option<PathBuf>,
    wal_mib_max: u64,
    shared: Arc<Shared>,
}

impl Watcher {
    fn look(&self) {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, pid, is_server) in processes {
            let (mib, descriptors) = if is_server {
                (SERVER_MIB_MAX, SERVER_DESCRIPTORS_MAX)
            } else {
                (SYNCD_MIB_MAX, SYNCD_DESCRIPTORS_MAX)
            };
            // A process that is ending has none of these files.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            self.check(&name, "MiB of memory", field(&status, "VmRSS:") / 1024, mib);
            self.check(&name, "threads", field(&status, "Threads:"), THREADS_MAX);
            let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
            self.check(&name, "descriptors", open, descriptors);
        }
        for (name, cache) in &self.caches {
            self.check(name, "MiB of cache", bytes_below(cache) / MIB, self.cache_mib_max);
        }
        if let Some(folder) = &self.wal {
            self.check(
                "replica 1",
                "MiB of write-ahead log",
                Sqlite::wal_bytes(folder) / MIB,
                self.wal_mib_max,
            );
        }
    }

    fn check(&self, actor: &str, what: &str, found: u64, bound: u64) {
        let mut peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        let peak = peaks.entry(format!("{actor}: {what}")).or_default();
        if found > bound && *peak <= bound {
            self.shared.log.violation(
                actor,
                &format!("{found} {what}, and {bound} are the bound"),
                Instant::now(),
            );
        }
        *peak = found.max(*peak);
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The size of all files below the folder, without the one that fills a disk.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes =
        entries.filter(|entry| entry.file_name() != ".ballast").map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        });
    sizes.sum()
}
