//! `bench lookup`: pushkeys-lookup from process start to exit, with different numbers of keys.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clap::Args;
use data_encoding::BASE64;
use pushkeys_keys::Fingerprint;
use pushkeys_tests::{Program, Room, SeededRng, SyntheticKey, program, run as run_to_end, string, until};
use rustix::thread::{CpuSet, sched_setaffinity};
use sha2::{Digest as _, Sha256};

use crate::cache;
use crate::report::{Report, Samples, ratio};

/// The limit of the helper's median, in medians of the static C program.
const RATIO_MAX: f64 = 1.20;
/// The limit of its median with the most keys, in medians with the fewest.
const GROWTH_MAX: f64 = 1.05;
const RESIDENT_KIB_MAX: f64 = 2048.0;
/// The default size of a pipe's buffer (pipe(7)).
const PIPE_BYTES: usize = 64 * 1024;
/// Runs before the measurement.
const WARM_UP_RUNS: usize = 50;

#[derive(Args)]
#[command(after_help = "\
Builds caches of synthetic keys (10 million take some 5 GB in the directory for temporary files), then
starts in turn: a static C program `int main(){return 0;}`, and pushkeys-lookup in each cache with a known
and with an unknown key. Every shard is read once before. All are started by posix_spawn from this process, on one processor. Memory is
VmHWM of a helper whose answer waits for a full pipe, when all its work is done.")]
pub(crate) struct Arguments {
    /// Sizes of the caches, in keys
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000,10000000")]
    keys: Vec<u64>,
    /// Runs of each program
    #[arg(long, default_value_t = 2_000)]
    runs: usize,
}

/// A program that is run repeatedly.
struct Contestant {
    name: String,
    program: PathBuf,
    cache: Option<SyntheticCache>,
    is_known: bool,
    samples: Samples,
}

/// A cache of synthetic keys.
#[derive(Clone)]
struct SyntheticCache {
    path: PathBuf,
    keys: u64,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let room = Room::temporary();
    pin();
    let mut contestants = vec![Contestant::floor(&room)];
    for keys in &arguments.keys {
        report.note(&format!("writing a cache of {keys} keys"));
        let cache = SyntheticCache::write(&room, *keys);
        contestants.extend([true, false].map(|is_known| Contestant::helper(&cache, is_known)));
    }
    let mut rng = SeededRng::new(1);
    // The page cache may have lost the files that were written first.
    for contestant in &contestants {
        contestant.read_cache();
    }
    for contestant in &mut contestants {
        for _ in 0..WARM_UP_RUNS {
            contestant.run_once(&mut rng);
        }
        contestant.samples = Samples::default();
    }
    for _ in 0..arguments.runs {
        for contestant in &mut contestants {
            contestant.run_once(&mut rng);
        }
    }
    print(&contestants, report);
}

fn print(contestants: &[Contestant], report: &mut Report) {
    let (floor, helpers) = contestants.split_first().expect("the floor comes first");
    for contestant in contestants {
        report.times(&contestant.name, &contestant.samples, &floor.samples);
    }
    for helper in helpers {
        let value = ratio(helper.samples.median(), floor.samples.median());
        report.at_most(&format!("{}, against static C", helper.name), value, RATIO_MAX, "x");
    }
    for is_known in [true, false] {
        let mut same = helpers.iter().filter(|helper| helper.is_known == is_known);
        if let (Some(fewest), Some(most)) = (same.next(), same.next_back()) {
            let value = ratio(most.samples.median(), fewest.samples.median());
            report.at_most(&format!("{}, against {}", most.name, fewest.name), value, GROWTH_MAX, "x");
        }
    }
    for helper in helpers.iter().filter(|helper| helper.is_known) {
        report.at_most(&format!("{}, resident", helper.name), helper.resident_kib(), RESIDENT_KIB_MAX, "KiB");
    }
}

/// Pins this process and its children to one processor.
fn pin() {
    let mut processor = CpuSet::new();
    processor.set(0);
    sched_setaffinity(None, &processor).expect("processor 0 is there");
}

impl Contestant {
    fn floor(room: &Room) -> Self {
        let source = room.write("floor.c", "int main(void) { return 0; }\n");
        let program = room.join("floor");
        let _ = run_to_end(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source))
            .output();
        let name = "C, static: int main(){return 0;}".to_owned();
        Self { name, program, cache: None, is_known: false, samples: Samples::default() }
    }

    fn helper(cache: &SyntheticCache, is_known: bool) -> Self {
        let kind = if is_known { "known" } else { "unknown" };
        let name = format!("pushkeys-lookup, {} keys, {kind} key", cache.keys);
        let program = program(Program::Lookup);
        Self { name, program, cache: Some(cache.clone()), is_known, samples: Samples::default() }
    }

    /// Reads every shard of its cache into the page cache.
    fn read_cache(&self) {
        let Some(cache) = &self.cache else { return };
        let shards = fs::read_dir(cache.path.join("api/g1")).expect("the first generation");
        for shard in shards {
            let _ = fs::read(shard.expect("a name").path()).expect("own file");
        }
    }

    fn command(&self, rng: &mut SeededRng) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(cache) = &self.cache {
            let number = rng.below(cache.keys) + if self.is_known { 0 } else { cache.keys };
            let fingerprint = synthetic_key(number).fingerprint;
            command.arg("--cache").arg(&cache.path).arg("git").arg(fingerprint.to_string());
        }
        command
    }

    fn run_once(&mut self, rng: &mut SeededRng) {
        let mut command = self.command(rng);
        let start = Instant::now();
        let status = command.spawn().expect("the program is built").wait().expect("own child");
        self.samples.push(start.elapsed());
        assert!(status.success(), "{}: {status}", self.name);
    }

    /// The peak of the helper's resident memory.
    fn resident_kib(&self) -> f64 {
        let (_reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&vec![b'x'; PIPE_BYTES]).expect("an empty pipe takes so much");
        let mut child =
            self.command(&mut SeededRng::new(2)).stdout(writer).spawn().expect("the program is built");
        until("the helper waits for the pipe", || is_asleep(&child));
        let resident = crate::world::resident_peak_kib(child.id()).expect("it is alive");
        let _ = child.kill();
        let _ = child.wait();
        resident
    }
}

fn is_asleep(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.contains("(pushkeys-lookup) S ")
}

/// The key number `number`: valid, without a known private key.
fn synthetic_key(number: u64) -> SyntheticKey {
    let point = Sha256::digest(number.to_le_bytes());
    let blob = [string(b"ssh-ed25519"), string(&point)].concat();
    SyntheticKey {
        text: format!("ssh-ed25519 {}", BASE64.encode(&blob)),
        fingerprint: Fingerprint::of(&blob),
    }
}

impl SyntheticCache {
    /// Writes the keys 0 to `keys` like syncd.
    fn write(room: &Room, keys: u64) -> Self {
        let path = room.join(&format!("cache-{keys}"));
        fs::create_dir(&path).expect("own directory");
        cache::write(&path, (0..keys).map(synthetic_key));
        Self { path, keys }
    }
}
