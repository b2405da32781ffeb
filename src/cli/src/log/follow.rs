//! Where the system's log is, its last lines, and the lines that come.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use jiff::{SignedDuration, Timestamp};
use pushkeys_keys::Hint;
use thiserror::Error;

use super::line::{TAGS, time_of};
use crate::program::{is_root, run};

/// The files of syslog, in the order in which they are tried after the journal.
const FILES: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];
/// Present where journald keeps a journal; journalctl answers without one, too, with nothing.
const JOURNALS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// How much of the end of a file is read for its last lines.
const TAIL_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How many lines of the journal are read.
const JOURNAL_LINES_MAX: &str = "20000";
/// How much is read from a file at once; the rest waits for the next call.
const PIECE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How many lines of the journal wait to be shown; with more, journalctl waits.
const WAITING_MAX: usize = 4096;
/// A longer line of the journal is cut.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Why there is nothing to read.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    #[error("cannot read the log `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there is no journal, no `{}` and no `{}`", FILES[0], FILES[1])]
    Nowhere(#[source] Hint),
    #[error("the journal cannot be read: {said}")]
    Journal {
        said: String,
        #[source]
        hint: Hint,
    },
}

impl LogError {
    fn journal(said: &str) -> Self {
        let hint = if is_root() { "systemctl status systemd-journald" } else { "run it with sudo" };
        Self::Journal { said: said.to_owned(), hint: Hint::new(hint) }
    }
}

/// The place of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Journal,
    File(PathBuf),
}

impl Place {
    fn find(asked_for: Option<&Path>) -> Result<Self, LogError> {
        if let Some(path) = asked_for {
            return Ok(Self::File(path.to_owned()));
        }
        if is_journal_readable() {
            return Ok(Self::Journal);
        }
        let file = FILES.iter().map(PathBuf::from).find(|path| path.exists());
        if file.is_none() && JOURNALS.iter().any(|path| Path::new(path).is_dir()) {
            return Err(LogError::journal("it has no file that this user may read"));
        }
        file.map(Self::File)
            .ok_or_else(|| LogError::Nowhere(Hint::new("--log FILE, where syslog writes authpriv")))
    }

    fn name(&self) -> String {
        match self {
            Self::Journal => "the journal".to_owned(),
            Self::File(path) => format!("`{}`", pushkeys_keys::escape(&path.to_string_lossy())),
        }
    }
}

fn journalctl() -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output", "short-iso"]);
    for tag in TAGS {
        command.args(["--identifier", tag]);
    }
    command
}

/// The last lines of the log, oldest first, and what was read.
pub(crate) fn last_lines(asked_for: Option<&Path>) -> Result<(String, Vec<String>), LogError> {
    let place = Place::find(asked_for)?;
    let text = match &place {
        Place::Journal => {
            let finished = run(journalctl().args(["--lines", JOURNAL_LINES_MAX]))
                .map_err(|error| LogError::journal(&error.to_string()))?;
            if !finished.status.success() {
                return Err(LogError::journal(finished.stderr.trim()));
            }
            finished.stdout
        }
        Place::File(path) => tail(path).map_err(|source| LogError::Read { path: path.clone(), source })?,
    };
    Ok((place.name(), text.lines().map(str::to_owned).collect()))
}

/// The lines of the log of the last `period` before `now`, oldest first. A line whose time cannot be read counts as one of them.
pub(crate) fn lines_since(
    asked_for: Option<&Path>,
    now: Timestamp,
    period: SignedDuration,
) -> Result<Vec<String>, LogError> {
    let since = now.saturating_sub(period).unwrap_or(now);
    match Place::find(asked_for)? {
        Place::Journal => {
            let since = format!("@{}", since.as_second());
            let finished = run(journalctl().args(["--since", &since, "--lines", JOURNAL_LINES_MAX]))
                .map_err(|error| LogError::journal(&error.to_string()))?;
            if !finished.status.success() {
                return Err(LogError::journal(finished.stderr.trim()));
            }
            Ok(finished.stdout.lines().map(str::to_owned).collect())
        }
        Place::File(path) => {
            let text = tail(&path).map_err(|source| LogError::Read { path, source })?;
            let is_recent = |line: &&str| time_of(line, now).is_none_or(|at| at >= since);
            Ok(text.lines().filter(is_recent).map(str::to_owned).collect())
        }
    }
}

/// Whether this process may read the system's journal. journalctl says nothing to users who may not, as if there were no lines.
fn is_journal_readable() -> bool {
    JOURNALS.iter().any(|folder| {
        let pattern = format!("{folder}/*/system.journal");
        let files = glob::glob(&pattern).into_iter().flatten().filter_map(Result::ok);
        files.into_iter().any(|path| File::open(path).is_ok())
    })
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let begin = file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line may be the end of one.
    let whole = if begin == 0 { text.as_str() } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    Ok(whole.to_owned())
}

/// The lines that come from now on.
#[derive(Debug)]
pub(crate) enum Followed {
    Journal { child: Child, lines: Receiver<String> },
    File { path: PathBuf, file: Option<File>, offset: u64, rest: Vec<u8> },
}

impl Followed {
    /// Begins at the end of the log.
    pub(crate) fn begin(asked_for: Option<&Path>) -> Result<Self, LogError> {
        match Place::find(asked_for)? {
            Place::Journal => follow_journal().map_err(|error| LogError::journal(&error.to_string())),
            Place::File(path) => {
                let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
                let (offset, file) =
                    opened.map_err(|source| LogError::Read { path: path.clone(), source })?;
                Ok(Self::File { path, file: Some(file), offset, rest: Vec::new() })
            }
        }
    }

    /// The lines that have come since the last call.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        match self {
            Self::Journal { lines, .. } => lines.try_iter().take(WAITING_MAX).collect(),
            Self::File { path, file, offset, rest } => {
                let mut lines = file.as_mut().map(|file| more(file, offset, rest)).unwrap_or_default();
                // A file that was rotated goes on under its name from the beginning.
                if is_replaced(path, file.as_ref(), *offset)
                    && let Ok(mut next) = File::open(path.as_path())
                {
                    (*offset, *rest) = (0, Vec::new());
                    lines.extend(more(&mut next, offset, rest));
                    *file = Some(next);
                }
                lines
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Self::Journal { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn follow_journal() -> io::Result<Followed> {
    let mut child = journalctl()
        .args(["--follow", "--lines", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (sender, lines) = sync_channel(WAITING_MAX);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .is_ok_and(|bytes| bytes > 0)
            {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    Ok(Followed::Journal { child, lines })
}

fn more(file: &mut File, offset: &mut u64, rest: &mut Vec<u8>) -> Vec<String> {
    let mut bytes = Vec::new();
    let read =
        file.seek(SeekFrom::Start(*offset)).and_then(|_| file.take(PIECE_BYTES_MAX).read_to_end(&mut bytes));
    *offset += read.unwrap_or_default() as u64;
    rest.append(&mut bytes);
    let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else {
        // A line without an end is not kept without limit.
        rest.truncate(usize::try_from(LINE_BYTES_MAX).unwrap_or(usize::MAX));
        return Vec::new();
    };
    let whole: Vec<u8> = rest.drain(..=end).collect();
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
}

fn is_replaced(path: &Path, file: Option<&File>, offset: u64) -> bool {
    let Ok(now) = std::fs::metadata(path) else { return false };
    let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    match file.and_then(|file| file.metadata().ok()) {
        Some(open) => identity(&open) != identity(&now) || now.len() < offset,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_followed_over_its_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.log");
        fs::write(&path, "old\n").unwrap();
        assert_eq!(last_lines(Some(&path)).unwrap().1, ["old"]);
        let mut followed = Followed::begin(Some(&path)).unwrap();
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        assert_eq!(followed.lines(), [] as [&str; 0]);
        append("one\ntw");
        assert_eq!(followed.lines(), ["one"]);
        append("o\n");
        assert_eq!(followed.lines(), ["two"]);
        append("last\n");
        fs::rename(&path, folder.path().join("auth.log.1")).unwrap();
        append("new\n");
        assert_eq!(followed.lines(), ["last", "new"]);
        fs::write(&path, "").unwrap();
        assert_eq!(followed.lines(), [] as [&str; 0]);
        append("again\n");
        assert_eq!(followed.lines(), ["again"]);
    }

    #[test]
    fn a_log_that_is_not_there_is_told() {
        let error = last_lines(Some(Path::new("/nonexistent/log"))).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the log `/nonexistent/log`");
        assert!(Followed::begin(Some(Path::new("/nonexistent/log"))).is_err());
    }
}
