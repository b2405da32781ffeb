//! What is asked of the system and not of syncd: a daemon that hangs, or cannot write, does not say so itself.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pushkeys_cache::LOCK_FILE;
use pushkeys_keys::{ErrorReport, SourceName};

use crate::hint;
use crate::log::{Event, Kind, lines_since};

/// The name under which the kernel lists the daemon, which it cuts after 15 characters.
const DAEMON: &str = "pushkeys-syncd";
/// Lookups are asked about as far back as this.
pub(super) const LOOKUPS_PERIOD: SignedDuration = SignedDuration::from_mins(5);
/// A source that starts again is without its writer for a moment.
const WRITER_TRIES: u32 = 10;
const WRITER_PAUSE: Duration = Duration::from_millis(100);

/// What the kernel says of the daemon's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Gone,
    /// A signal has stopped it, or a debugger.
    Stopped,
    /// It waits for a disk, and takes no signal.
    WaitsForDisk,
    Runs,
}

/// What is left on the file system of the cache, for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) bytes: u64,
    /// `None` if the file system makes inodes as it needs them.
    pub(super) files: Option<u64>,
}

/// Lookups that could not answer within [`LOOKUPS_PERIOD`], and since the last session: that one was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedLookups {
    pub(super) count: u64,
    /// When the last one was, as the log wrote it.
    pub(super) last_at: String,
    /// What it said, in text that is safe to print.
    pub(super) last: String,
}

impl Process {
    /// The process `pid`, if it is a syncd: a process id alone may be another program's by now.
    pub(super) fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.ok().as_deref().map_or(Self::Gone, Self::parse)
    }

    /// What stands in `stat` of proc(5). The name may hold blanks and parentheses.
    fn parse(stat: &str) -> Self {
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
            return Self::Gone;
        };
        match rest.chars().next() {
            _ if name != DAEMON => Self::Gone,
            Some('T' | 't') => Self::Stopped,
            Some('D') => Self::WaitsForDisk,
            Some('R' | 'S' | 'I' | 'P') => Self::Runs,
            // It has ended, and its parent has not noticed yet.
            _ => Self::Gone,
        }
    }
}

impl Room {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        let files = (disk.f_files > 0).then_some(disk.f_favail);
        Ok(Self { bytes: disk.f_bavail.saturating_mul(disk.f_frsize), files })
    }
}

/// Whether a process has the writer of source `name` of the cache in `folder`.
///
/// The kernel is asked by trying to share its lock, which fails while there is a writer and disturbs none. The owner of the cache and
/// root may ask.
pub(super) fn is_written(folder: &Path, name: &SourceName) -> io::Result<bool> {
    let file = File::open(folder.join(name.as_str()).join(LOCK_FILE))?;
    for attempt in 0..WRITER_TRIES {
        if attempt > 0 {
            thread::sleep(WRITER_PAUSE);
        }
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            // Until the next attempt, a daemon that starts just now can have it.
            Ok(()) => file.unlock()?,
        }
    }
    Ok(false)
}

/// What lookups have said in the log since [`LOOKUPS_PERIOD`] before `now`.
pub(super) fn failed_lookups(
    log: Option<&Path>,
    now: Timestamp,
) -> Result<Option<FailedLookups>, ErrorReport> {
    let lines = lines_since(log, now, LOOKUPS_PERIOD).map_err(|error| hint::report(&error))?;
    Ok(failures(&lines))
}

fn failures(lines: &[String]) -> Option<FailedLookups> {
    let events = lines.iter().rev().filter_map(|line| Event::parse(line));
    let mut failed =
        events.take_while(|event| event.kind != Kind::Session).filter(|event| event.kind == Kind::Failed);
    let last = failed.next()?;
    Some(FailedLookups { count: 1 + failed.count() as u64, last_at: last.at, last: last.what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_daemon_by_its_name_and_lives_by_its_state() {
        let check = |stat: &str, expected| assert_eq!(Process::parse(stat), expected, "{stat}");
        check("7 (pushkeys-syncd) S 1 7 7 0", Process::Runs);
        check("7 (pushkeys-syncd) R 1", Process::Runs);
        check("7 (pushkeys-syncd) T 1", Process::Stopped);
        check("7 (pushkeys-syncd) t 1", Process::Stopped);
        check("7 (pushkeys-syncd) D 1", Process::WaitsForDisk);
        check("7 (pushkeys-syncd) Z 1", Process::Gone);
        check("7 (pushkeys-sync) S 1", Process::Gone);
        check("7 (a) S (pushkeys-syncd) S 1", Process::Gone);
        check("", Process::Gone);
        assert_eq!(Process::of(std::process::id()), Process::Gone, "this is a test");
    }

    #[test]
    fn lookups_have_failed_since_the_last_session() {
        let lookup = |second: u32| {
            format!(
                "2026-11-24T12:00:0{second}+00:00 push-1 pushkeys-lookup[7]: cannot answer: there is no `/c`"
            )
        };
        let session = "2026-11-24T12:00:02+00:00 push-1 pushkeys-shell[7]: session login=git account=a key=k \
                       fingerprint=x answered=greeted asked=shell";
        let check = |lines: &[&str], expected: Option<(u64, &str)>| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            let found = failures(&lines);
            assert_eq!(found.as_ref().map(|found| (found.count, found.last_at.as_str())), expected);
        };
        check(&[], None);
        check(&[&lookup(1), session], None);
        check(&[&lookup(0), session, &lookup(3), &lookup(4)], Some((2, "2026-11-24T12:00:04+00:00")));
    }

    #[test]
    fn a_writer_is_seen_and_not_disturbed() {
        let folder = tempfile::tempdir().unwrap();
        let name: SourceName = "api".parse().unwrap();
        fs::create_dir(folder.path().join("api")).unwrap();
        assert!(is_written(folder.path(), &name).is_err(), "there is no file");
        let file = File::create(folder.path().join("api/LOCK")).unwrap();
        assert!(!is_written(folder.path(), &name).unwrap());
        file.try_lock().unwrap();
        assert!(is_written(folder.path(), &name).unwrap());
    }
}
