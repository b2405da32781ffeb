//! The log of sessions and pushes on this host, as forced commands tell them: who did what, also when syslog is away.
//!
//! The forced command runs as the login that clients reach, so this log is written by the daemon: an attacker who takes that login over
//! can add lines, and cannot change or remove one. It is bounded by day and by account, so that neither can displace what
//! is there: lines beyond a bound are counted and not kept.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pushkeys_cache::{
    SESSION_LINE_BYTES_MAX, SESSION_LOG, SESSION_LOG_DAYS, SESSION_SOCKET, session_line_account,
};

use crate::socket;

/// The longest file of a day.
const DAY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What lines of one account may take of it.
const ACCOUNT_BYTES_MAX: u64 = DAY_BYTES_MAX / 16;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// How long to wait before a socket that could not be opened, or failed, is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Listens to forced commands, in a thread of its own, until the process ends.
pub(crate) fn listen(cache: &Path) {
    let cache = cache.to_owned();
    let spawned = std::thread::Builder::new().name("sessions".to_owned()).spawn(move || serve(&cache));
    if let Err(error) = spawned {
        tracing::warn!("sessions are not logged here: cannot start a thread: {error}");
    }
}

fn serve(cache: &Path) {
    let path = cache.join(SESSION_SOCKET);
    let mut log = SessionLog::new(cache.join(SESSION_LOG));
    // A host without sessions has an empty log, which is not the same as none.
    if let Err(error) = make_folder(&log.folder) {
        tracing::warn!("cannot make `{}`: {error}", log.folder.display());
    }
    // One byte more than is accepted, so that a longer datagram is refused and not cut.
    let mut buffer = [0; SESSION_LINE_BYTES_MAX + 1];
    socket::receive(&path, "sessions are not logged here", OPEN_AGAIN, &mut buffer, |datagram| {
        log.take(datagram, Timestamp::now());
    });
}

/// The log, a file for each day.
#[derive(Debug)]
struct SessionLog {
    folder: PathBuf,
    today: Option<Day>,
    /// The day on which something was not kept, and logged as such.
    warned_on: Option<Date>,
}

/// The file of one day, and what is in it.
#[derive(Debug)]
struct Day {
    date: Date,
    file: File,
    bytes: u64,
    accounts: BTreeMap<String, u64>,
}

impl SessionLog {
    fn new(folder: PathBuf) -> Self {
        Self { folder, today: None, warned_on: None }
    }

    /// Appends the line `datagram`, which came at `now`.
    fn take(&mut self, datagram: &[u8], now: Timestamp) {
        let Some(account) = session_line_account(datagram) else {
            tracing::debug!("a datagram of {} bytes is no line for the log of sessions", datagram.len());
            return;
        };
        let time = now.to_zoned(TimeZone::UTC);
        let date = time.date();
        if let Err(error) = self.append(account, datagram, now, date)
            && self.warned_on != Some(date)
        {
            self.warned_on = Some(date);
            tracing::warn!("sessions are not kept in `{}` today: {error}", self.folder.display());
        }
    }

    fn append(&mut self, account: &str, line: &[u8], now: Timestamp, date: Date) -> io::Result<()> {
        if self.today.as_ref().is_none_or(|day| day.date != date) {
            self.today = Some(Day::open(&self.folder, date)?);
            remove_old(&self.folder, date);
        }
        let Some(day) = &mut self.today else { return Ok(()) };
        let line = [format!("{now:.0} ").as_bytes(), line, b"\n"].concat();
        day.append(account, &line)
    }
}

impl Day {
    fn open(folder: &Path, date: Date) -> io::Result<Self> {
        make_folder(folder)?;
        let path = folder.join(date.to_string());
        let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(&path)?;
        let text = fs::read(&path)?;
        let mut day = Self { date, file, bytes: 0, accounts: BTreeMap::new() };
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let after_time = line.splitn(2, |&byte| byte == b' ').nth(1).unwrap_or_default();
            let account = session_line_account(after_time.trim_ascii_end()).unwrap_or_default();
            day.count(account, line.len());
        }
        Ok(day)
    }

    fn append(&mut self, account: &str, line: &[u8]) -> io::Result<()> {
        let bytes = line.len() as u64;
        if self.bytes + bytes > DAY_BYTES_MAX {
            return Err(io::Error::other(format!("there are {DAY_BYTES_MAX} bytes of them")));
        }
        if self.accounts.get(account).copied().unwrap_or_default() + bytes > ACCOUNT_BYTES_MAX {
            return Err(io::Error::other(format!(
                "account `{account}` alone has {ACCOUNT_BYTES_MAX} bytes of them"
            )));
        }
        // One call, so that a line is whole or not there.
        self.file.write_all(line)?;
        self.count(account, line.len());
        Ok(())
    }

    fn count(&mut self, account: &str, bytes: usize) {
        self.bytes += bytes as u64;
        *self.accounts.entry(account.to_owned()).or_default() += bytes as u64;
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() { Ok(()) } else { DirBuilder::new().mode(FOLDER_MODE).create(folder) }
}

/// Removes the files of days that are no longer kept.
fn remove_old(folder: &Path, today: Date) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let date: Option<Date> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let age = date.and_then(|date| today.since(date).ok()).map(|age| age.get_days());
        if age.is_some_and(|days| i64::from(days) >= i64::from(SESSION_LOG_DAYS))
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove `{}`: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, SessionLog) {
        let folder = tempfile::tempdir().unwrap();
        let log = SessionLog::new(folder.path().join("SESSIONS"));
        (folder, log)
    }

    fn text(folder: &tempfile::TempDir, date: &str) -> String {
        fs::read_to_string(folder.path().join("SESSIONS").join(date)).unwrap()
    }

    #[test]
    fn lines_are_kept_by_day_with_their_time() {
        let (folder, mut log) = log();
        for (time, line) in [
            ("2026-11-28T23:59:59.9Z", "session login=git account=acct_7 key=k"),
            ("2026-11-28T23:59:59.9Z", "nonsense"),
            ("2026-11-29T00:00:00Z", "push login=git account=acct_8 key=k"),
        ] {
            log.take(line.as_bytes(), time.parse().unwrap());
        }
        assert_eq!(
            text(&folder, "2026-11-28"),
            "2026-11-28T23:59:59Z session login=git account=acct_7 key=k\n"
        );
        assert_eq!(text(&folder, "2026-11-29"), "2026-11-29T00:00:00Z push login=git account=acct_8 key=k\n");
        // A daemon that starts again goes on in the same file.
        let mut next = SessionLog::new(folder.path().join("SESSIONS"));
        next.take(b"push login=git account=acct_8 key=k", "2026-11-29T00:00:01Z".parse().unwrap());
        assert_eq!(text(&folder, "2026-11-29").lines().count(), 2);
    }

    #[test]
    fn one_account_displaces_no_line_of_another_and_a_day_is_bounded() {
        let (folder, mut log) = log();
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let fill = |account: usize| format!("session login=git account=acct_{account} {}", "x".repeat(1700));
        let count = usize::try_from(ACCOUNT_BYTES_MAX).unwrap() / 1700 + 1;
        (0..count).for_each(|_| log.take(fill(0).as_bytes(), now));
        log.take(b"push login=git account=acct_99 key=k", now);
        let kept = text(&folder, "2026-11-28");
        assert!(kept.len() as u64 <= ACCOUNT_BYTES_MAX + 100 && kept.ends_with("account=acct_99 key=k\n"));

        // What is in the file counts after a restart too.
        let mut log = SessionLog::new(folder.path().join("SESSIONS"));
        log.take(fill(0).as_bytes(), now);
        assert_eq!(text(&folder, "2026-11-28"), kept);
        for account in 1..20 {
            (0..count).for_each(|_| log.take(fill(account).as_bytes(), now));
        }
        let size = text(&folder, "2026-11-28").len() as u64;
        assert!((DAY_BYTES_MAX - 2000..=DAY_BYTES_MAX).contains(&size), "{size}");
        log.take(b"push login=git account=acct_99 key=k", now + Duration::from_hours(24));
        assert_eq!(text(&folder, "2026-11-29").lines().count(), 1, "the next day has room");
    }

    #[test]
    fn days_are_removed_when_they_are_old_and_nothing_else_is() {
        let (folder, mut log) = log();
        fs::create_dir(folder.path().join("SESSIONS")).unwrap();
        for name in ["2026-10-28", "2026-10-29", "2026-11-27", "2027-01-01", "notes"] {
            fs::write(folder.path().join("SESSIONS").join(name), "").unwrap();
        }
        log.take(b"push login=git account=acct_8", "2026-11-28T12:00:00Z".parse().unwrap());
        let mut names: Vec<_> = fs::read_dir(folder.path().join("SESSIONS"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["2026-10-29", "2026-11-27", "2026-11-28", "2027-01-01", "notes"]);
    }
}
