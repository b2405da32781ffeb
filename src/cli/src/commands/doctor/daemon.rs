//! The daemon, its configuration, its sources and the cache that it keeps.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use pushkeys_cache::status::Status;
use pushkeys_cache::{Cache, Source};
use pushkeys_files::Trust;
use pushkeys_keys::{ErrorReport, shell_word};
use serde::Deserialize;

use super::finding::{Finding, Severity};
use super::helper::Sample;
use super::options::DoctorOptions;
use crate::accounts::{User, group_name};
use crate::commands::status::{self, Lookups};
use crate::context::Context;
use crate::output::count;
use crate::program::{as_user, run};

/// Where packages put the configuration.
const CONFIG: &str = "/etc/pushkeys/syncd.toml";
const BYTES_PER_MIB: u64 = 1024 * 1024;
/// Of stat(2), whatever the file system's blocks are.
const BYTES_PER_BLOCK: u64 = 512;
/// How many shards are measured to estimate the size of all.
const SHARDS_SAMPLED_MAX: u32 = 16;
/// HEAD holds whole seconds.
const CLOCK_DIFFERENCE_MAX: SignedDuration = SignedDuration::from_secs(2);

/// What is wrong with the cache, as `pushkeys status` shows it.
pub(super) fn check_status(context: &Context, options: &DoctorOptions) -> Vec<Finding> {
    match status::problems(context, Lookups::Asked(options.log.as_deref())) {
        Ok(problems) => problems.into_iter().map(of_problem).collect(),
        Err(error) => {
            let why = "the helper cannot answer without it, and every login fails";
            vec![Finding::of_error("cache", &error, why)]
        }
    }
}

pub(super) fn of_problem(problem: status::Problem) -> Finding {
    let of = problem.source.map(|source| format!("source `{source}`: ")).unwrap_or_default();
    let why =
        "what is in force is served until it is too old, and changes, above all removals, do not arrive";
    Finding::error("cache", format!("{of}{}", problem.what), why).cured_by(problem.hint)
}

/// Who owns the cache and who may read it, for the helper's user and the login.
pub(super) fn check_access(context: &Context, readers: &[&User]) -> Vec<Finding> {
    let folder = &context.cache;
    let Ok(metadata) = fs::metadata(folder) else { return Vec::new() };
    let shown = shell_word(&folder.to_string_lossy());
    let mut findings = Vec::new();
    if let Err(error) = pushkeys_files::check(folder, Trust::OWNER.secret()) {
        let why = "any process on this host can read every user's keys and names";
        let finding = Finding::of_error("cache-access", &error, why);
        findings.push(Finding { severity: Severity::Warning, ..finding });
    }
    let group = group_name(metadata.gid());
    // Root can read everything. That something runs as root is another finding.
    for user in readers.iter().filter(|user| user.uid != 0) {
        if metadata.uid() == user.uid {
            let what = format!("the cache belongs to `{}`", user.name);
            let why = "what sshd starts must not be able to write what sshd is told";
            findings.push(
                Finding::error("cache-access", what, why).cured_by(format!("chown -R pushkeys {shown}")),
            );
        } else if let Some(group) = group.as_ref().filter(|group| !user.groups().contains(group)) {
            let what = format!("`{}` is not in the group `{group}`, which may read the cache", user.name);
            let why = "it runs at every login, and cannot answer without the cache";
            let cure = format!("usermod --append --groups {} {}", shell_word(group), shell_word(&user.name));
            findings.push(Finding::error("cache-access", what, why).cured_by(cure));
        }
    }
    findings
}

/// What a generation of a source takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DiskSpace {
    bytes: u64,
    files: u64,
}

/// Whether there is room for a second generation, which a full sync or a large burst writes.
pub(super) fn check_room(context: &Context) -> Option<Finding> {
    let cache = Cache::open(&context.cache).ok()?;
    let sources = cache.sources().ok()?;
    let room_of = |name| room_of(&cache.source(name).ok()?);
    let needed = sources.iter().filter_map(room_of).max()?;
    let disk = rustix::fs::statvfs(&context.cache).ok()?;
    let left = DiskSpace { bytes: disk.f_bavail.saturating_mul(disk.f_frsize), files: disk.f_favail };
    // Some file systems allocate inodes on demand, and report that they have none.
    let has_files = disk.f_files == 0 || left.files >= needed.files;
    (left.bytes < needed.bytes || !has_files).then(|| {
        let what = format!(
            "the disk of `{}` has room for {} and {}; a full sync needs {} and {}",
            context.cache.display(),
            count(left.bytes / BYTES_PER_MIB, "MiB", "MiB"),
            count(left.files, "file", "files"),
            count(needed.bytes.div_ceil(BYTES_PER_MIB), "MiB", "MiB"),
            count(needed.files, "file", "files"),
        );
        let why = "a full sync writes a generation beside the one in force; without room for it, this host keeps the keys \
                   that it has until they are too old";
        Finding::warning("disk", what, why)
    })
}

/// Keys are spread evenly over the shards, so the first ones are like all others.
fn room_of(source: &Source) -> Option<DiskSpace> {
    let shards = u64::from(source.shard_count());
    let sampled = source.shard_count().min(SHARDS_SAMPLED_MAX);
    let blocks = |index| fs::metadata(source.path_of(index)).map(|metadata| metadata.blocks());
    let blocks = (0..sampled).map(blocks).sum::<io::Result<u64>>().ok()?;
    Some(DiskSpace { bytes: blocks * BYTES_PER_BLOCK * shards / u64::from(sampled), files: shards })
}

/// Whether the clock is behind what syncd last wrote.
pub(super) fn check_clock(context: &Context) -> Vec<Finding> {
    let Ok(cache) = Cache::open(&context.cache) else { return Vec::new() };
    let latest: Option<Timestamp> = cache
        .sources()
        .unwrap_or_default()
        .iter()
        .filter_map(|name| Some(cache.source(name).ok()?.head().stamps.synced_at))
        .max();
    let ahead = latest.filter(|latest| latest.duration_since(Timestamp::now()) > CLOCK_DIFFERENCE_MAX);
    let finding = ahead.map(|latest| {
        let what = format!("the cache was in sync at {latest}, which is in the future by this host's clock");
        let why = "with a wrong clock, keys expire and the cache becomes too old at the wrong time";
        Finding::error("clock", what, why).cured_by("timedatectl set-ntp true")
    });
    finding.into_iter().collect()
}

/// What `pushkeys-syncd check --contact` prints.
#[derive(Deserialize)]
struct SourceCheck {
    level: Level,
    #[serde(flatten)]
    report: ErrorReport,
    sample: Option<SampleRecord>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

#[derive(Deserialize)]
struct SampleRecord {
    source: String,
    fingerprint: String,
    account: String,
    key_id: String,
}

/// The configuration that the daemon uses, by its own status if it has written one.
pub(crate) fn config(context: &Context, asked_for: Option<&PathBuf>) -> PathBuf {
    let said = || Status::read(&context.cache).ok().map(|status| status.config);
    asked_for.cloned().or_else(said).unwrap_or_else(|| CONFIG.into())
}

/// The user that owns the cache, as which the daemon runs.
pub(crate) fn user(context: &Context) -> String {
    let owner = fs::metadata(&context.cache).ok().map(|metadata| metadata.uid());
    let user = owner.and_then(|uid| User::find(&uid.to_string()));
    user.map_or_else(|| "pushkeys".to_owned(), |user| user.name)
}

/// Has the daemon's own program check its configuration and contact every source. Gives a key of each source too.
pub(super) fn check_sources(context: &Context, options: &DoctorOptions) -> (Vec<Finding>, Vec<Sample>) {
    let config = config(context, options.syncd.config.as_ref());
    let mut command = as_user(&user(context), &options.syncd.program);
    command.arg("--config").arg(&config).args(["check", "--contact", "--brief", "--json"]);
    let why = "without its daemon this host falls behind, and refuses every key once the cache is too old";
    let finished = match run(&mut command) {
        Ok(finished) => finished,
        Err(error) => {
            return (vec![Finding::of_error("syncd", &error, why)], Vec::new());
        }
    };
    let Ok(said) = serde_json::from_str::<Vec<SourceCheck>>(&finished.stdout) else {
        let first = finished.stderr.lines().next().unwrap_or_default();
        let what = format!(
            "`{} check` ended with {}: {}",
            options.syncd.program.display(),
            finished.ending(),
            pushkeys_keys::escape(first)
        );
        return (vec![Finding::error("syncd", what, why)], Vec::new());
    };
    let findings = said.iter().filter(|said| said.level != Level::Ok).map(of_said).collect();
    let samples = said.into_iter().filter_map(|said| sample(said.sample?)).collect();
    (findings, samples)
}

fn of_said(said: &SourceCheck) -> Finding {
    let why = "the daemon takes no key from a source that it cannot use, or may take the wrong ones";
    let finding = Finding::of_report("source", said.report.clone(), why);
    match said.level {
        Level::Error => finding,
        Level::Ok | Level::Warning => Finding { severity: Severity::Warning, ..finding },
    }
}

fn sample(said: SampleRecord) -> Option<Sample> {
    let service = (said.source, said.account, said.key_id);
    Some(Sample { fingerprint: said.fingerprint.parse().ok()?, service: Some(service) })
}

/// Some key of the cache, for when no service could be asked for one.
pub(super) fn any_key(context: &Context) -> Option<Sample> {
    let cache = Cache::open(&context.cache).ok()?;
    let sources = cache.sources().ok()?;
    sources.iter().find_map(|name| {
        let source = cache.source(name).ok()?;
        let entry = source.entries().next()?.ok()?;
        Some(Sample { fingerprint: entry.fingerprint, service: None })
    })
}
