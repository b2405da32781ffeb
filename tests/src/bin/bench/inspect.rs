//! `bench inspect`: the sysadmin's tool with the maximum number of keys of a host.

use std::fs::{self, File};
use std::io::Read as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use pushkeys_tests::{HostFiles, Program, Room, Service, Syncd, SyntheticKeys, program};
use sha2::{Digest as _, Sha256};

use crate::cache;
use crate::report::{Report, Samples, ratio};
use crate::world::{IMPORT_TIME_MAX, RESIDENTS, import, resident_peak_kib};

/// The limit for commands that scan every line and verify its checksum, in times of reading the same bytes with one checksum
/// for each shard.
const EVERY_LINE_MAX: f64 = 2.0;
/// The limit for commands that also validate every key, as syncd did.
const EVERY_KEY_MAX: f64 = 8.0;
/// The limit for commands about one key with many keys, in times of the same with few.
const GROWTH_MAX: f64 = 1.25;
/// The limit for a comparison with a source, in times of a first sync from it.
const COMPARISON_MAX: f64 = 1.0;
const RESIDENT_MIB_MAX: f64 = 64.0;
const KIB_PER_MIB: f64 = 1024.0;
/// The interval of reading a running program's memory.
const GLANCE: Duration = Duration::from_millis(2);

/// The subcommand that reads and checksums a folder.
pub(crate) const CHECKSUM: &str = "checksum";

#[derive(Args)]
#[command(after_help = "\
Builds a cache of valid synthetic keys (10 million take some 5 GB in the directory for temporary files) and starts in
turn, as whole processes with their output thrown away: a program that reads every shard and takes its SHA-256 on all
processors, `cat` of every shard, and `pushkeys` with what a sysadmin asks of every key and of one. What asks for one key
is also asked in a small cache. `verify --against-source` is held against the first sync of the same keys. Memory is
VmHWM, looked at every 2 ms.")]
pub(crate) struct Arguments {
    /// Keys of the cache
    #[arg(long, default_value_t = 10_000_000)]
    keys: usize,
    /// Keys of the small cache
    #[arg(long, default_value_t = 10_000)]
    few: usize,
    /// Keys of the service that a host is compared with; 0 leaves it out
    #[arg(long, default_value_t = 1_000_000)]
    compared: usize,
    /// Runs of each program
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// A command, and its limit.
struct Question {
    name: &'static str,
    arguments: Vec<String>,
    /// The expected exit status.
    status: i32,
    aim: Aim,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Scans every line, and prints few.
    EveryLine,
    /// Validates every key.
    EveryKey,
    /// Prints every line: only memory has a limit.
    EveryLinePrinted,
    /// Reads one key, or none.
    OneKey,
}

/// The measurements of a program.
#[derive(Default)]
struct Measured {
    times: Samples,
    resident_kib: f64,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let room = Room::temporary();
    let (many, few) = (room.join("many"), room.join("few"));
    for (path, keys) in [(&many, arguments.keys), (&few, arguments.few)] {
        report.note(&format!("writing a cache of {keys} keys"));
        fs::create_dir(path).expect("own directory");
        cache::write(path, SyntheticKeys::new(RESIDENTS).take(keys));
    }
    let shards = many.join("api/g1");
    let mut floor = Command::new(std::env::current_exe().expect("this program"));
    floor.arg(CHECKSUM).arg(&shards);
    let mut cat = Command::new("find");
    cat.arg(&shards).args(["-type", "f", "-exec", "cat", "{}", "+"]);
    // The page cache may have lost the files that were written first.
    let _ = measure_once(&mut floor, 0);

    let questions = questions(&room);
    let (mut floor_took, mut cat_took) = (Measured::default(), Measured::default());
    let mut among_many: Vec<Measured> = questions.iter().map(|_| Measured::default()).collect();
    let mut among_few: Vec<Measured> = questions.iter().map(|_| Measured::default()).collect();
    for _ in 0..arguments.runs {
        floor_took.add(measure_once(&mut floor, 0));
        cat_took.add(measure_once(&mut cat, 0));
        for (question, (in_many, in_few)) in questions.iter().zip(among_many.iter_mut().zip(&mut among_few)) {
            in_many.add(measure_once(&mut question.ask(&many), question.status));
            if question.aim == Aim::OneKey {
                in_few.add(measure_once(&mut question.ask(&few), question.status));
            }
        }
    }
    report.times("read and checksum on all processors", &floor_took.times, &floor_took.times);
    report.times("cat", &cat_took.times, &floor_took.times);
    for (question, measured) in questions.iter().zip(&among_many) {
        report.times(question.name, &measured.times, &floor_took.times);
    }
    for ((question, many), few) in questions.iter().zip(&among_many).zip(&among_few) {
        question.report_to(many, few, &floor_took, report);
    }
    drop(room);
    if arguments.compared > 0 {
        compare(arguments, report);
    }
}

/// The commands of a sysadmin. Both caches have the key that is looked up.
fn questions(room: &Room) -> Vec<Question> {
    let key = SyntheticKeys::new(RESIDENTS).next().expect("keys without end").fingerprint.to_string();
    let (account, revoked) = (cache::account(0), cache::account(1000));
    // The system's own log may be of any length.
    let log = room.write("auth.log", "").display().to_string();
    let question = |name, arguments: &[&str], status, aim| {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Question { name, arguments, status, aim }
    };
    let missing = "/nonexistent";
    vec![
        question("verify", &["verify"], 0, Aim::EveryKey),
        question("list --account", &["list", "--account", &account], 0, Aim::EveryLine),
        question("list --login", &["list", "--login", "deploy"], 0, Aim::EveryLine),
        question("list --name", &["list", "--name", "phone"], 0, Aim::EveryLine),
        question("list --expired", &["list", "--expired"], 0, Aim::EveryLine),
        // It has been revoked before from the second run on, and its keys are counted again.
        question("revoke --account", &["revoke", "--account", &revoked], 0, Aim::EveryLine),
        question("list", &["list"], 0, Aim::EveryLinePrinted),
        question("list --json", &["list", "--json"], 0, Aim::EveryLinePrinted),
        question("list --fingerprint", &["list", "--fingerprint", &key], 0, Aim::OneKey),
        question("show", &["show", &key], 0, Aim::OneKey),
        question("explain", &["explain", "git", &key, "--log", &log], 0, Aim::OneKey),
        // No daemon has run there.
        question("status", &["status"], 1, Aim::OneKey),
        question("doctor, without sshd", &["doctor", "--sshd", missing, "--syncd", missing], 1, Aim::OneKey),
    ]
}

impl Question {
    fn ask(&self, cache: &Path) -> Command {
        let mut command = Command::new(program(Program::Cli));
        command.arg("--cache").arg(cache).args(&self.arguments);
        command
    }

    fn report_to(&self, many: &Measured, few: &Measured, floor: &Measured, report: &mut Report) {
        let name = self.name;
        match self.aim {
            Aim::EveryLine | Aim::EveryKey => {
                let value = ratio(many.times.median(), floor.times.median());
                let limit = if self.aim == Aim::EveryKey { EVERY_KEY_MAX } else { EVERY_LINE_MAX };
                report.at_most(&format!("{name}, against reading"), value, limit, "x");
            }
            Aim::EveryLinePrinted => {}
            Aim::OneKey => {
                let value = ratio(many.times.median(), few.times.median());
                report.at_most(&format!("{name}, against few keys"), value, GROWTH_MAX, "x");
            }
        }
        let resident = many.resident_kib / KIB_PER_MIB;
        report.at_most(&format!("{name}, resident"), resident, RESIDENT_MIB_MAX, "MiB");
    }
}

impl Measured {
    fn add(&mut self, (took, resident_kib): (Duration, f64)) {
        self.times.push(took);
        self.resident_kib = self.resident_kib.max(resident_kib);
    }
}

/// The duration of `command`, and the peak memory that was seen.
fn measure_once(command: &mut Command, status: i32) -> (Duration, f64) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().expect("the program is built");
    let pid = child.id();
    // The wait is here, so that the end is noticed at once; the other thread only reads the memory.
    let ((ended, took), resident_kib) = thread::scope(|scope| {
        let (end, ended_receiver) = std::sync::mpsc::channel::<()>();
        let watch = scope.spawn(move || {
            let mut resident_kib = 0_f64;
            while ended_receiver.recv_timeout(GLANCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                resident_kib = resident_peak_kib(pid).unwrap_or_default().max(resident_kib);
            }
            resident_kib
        });
        let ended = child.wait().expect("own child");
        let took = start.elapsed();
        drop(end);
        ((ended, took), watch.join().expect("it only looks on"))
    });
    assert_eq!(ended.code(), Some(status), "{command:?}");
    (took, resident_kib)
}

/// Reads every file of `folder` and computes its SHA-256, on all processors: the minimum work of a scan.
pub(crate) fn checksum(folder: &Path) {
    let files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|file| file.expect("a name").path()).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for first in 0..threads {
            let files = files.iter().skip(first).step_by(threads);
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for file in files {
                    bytes.clear();
                    let _ = File::open(file).expect("own file").read_to_end(&mut bytes).expect("own file");
                    std::hint::black_box(Sha256::digest(&bytes));
                }
            });
        }
    });
}

/// Compares a host after a sync with its service.
fn compare(arguments: &Arguments, report: &mut Report) {
    let room = Room::temporary();
    let service = Service::start();
    report.note(&format!("importing {} keys into a service", arguments.compared));
    import(&service, &room, RESIDENTS, arguments.compared);
    let files = HostFiles::install();
    let mut syncd = Syncd::configure(files.room(), &files.syncd_configuration(&files.source(&service)));
    let start = Instant::now();
    syncd.start_once();
    let end = start + IMPORT_TIME_MAX;
    let ended = loop {
        assert!(Instant::now() < end, "the first sync takes too long: {}", syncd.log());
        match syncd.ended() {
            Some(status) => break status,
            None => thread::sleep(GLANCE),
        }
    };
    let (mut sync, mut comparison) = (Samples::default(), Measured::default());
    sync.push(start.elapsed());
    assert!(ended.success(), "{}", syncd.log());
    for _ in 0..arguments.runs {
        let mut command = Command::new(program(Program::Cli));
        command.arg("--cache").arg(files.cache()).args(["verify", "--against-source", "--syncd"]);
        command.arg(program(Program::Syncd)).arg("--syncd-config").arg(syncd.configuration());
        comparison.add(measure_once(&mut command, 0));
    }
    report.times("verify --against-source", &comparison.times, &sync);
    report.at_most(
        "verify --against-source, against a first sync",
        ratio(comparison.times.median(), sync.median()),
        COMPARISON_MAX,
        "x",
    );
}
