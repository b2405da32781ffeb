//! Whether the file at the path of a SQLite database is the one that connections have open.
//!
//! A file that is removed, or replaced by another, stays open: writes to it would be confirmed and are lost. So the file at the path is
//! compared before a connection is used, and again before a write is confirmed. Connections of before are closed then, and new ones
//! open what is there; whether that is the same history is decided by the chain of changes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// SQLite's files beside the database. To a file that takes the place of the database they do not belong: SQLite would mix the two.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Device and inode.
type FileId = (u64, u64);

/// The file of a SQLite database.
pub(crate) struct SqliteFile {
    path: PathBuf,
    opened: Mutex<Opened>,
}

/// What connections have open.
struct Opened {
    file: FileId,
    beside: [Option<FileId>; BESIDE.len()],
    /// Connections of before have another file open.
    since: Instant,
    is_missing: bool,
}

/// That a connection has the file open that was at the path at a moment.
pub(crate) struct OpenedFile {
    file: Arc<SqliteFile>,
    since: Instant,
}

impl SqliteFile {
    /// The file that is at `path` now.
    pub(super) fn new(path: &Path) -> io::Result<Arc<Self>> {
        let opened = Opened {
            file: id(path)?,
            beside: [None; BESIDE.len()],
            since: Instant::now(),
            is_missing: false,
        };
        Ok(Arc::new(Self { path: path.to_owned(), opened: Mutex::new(opened) }))
    }

    /// Whether a connection that was opened `age` ago has the file open that is at the path now. Fails if there is none.
    pub(super) fn is_open_since(&self, age: Duration) -> io::Result<bool> {
        Ok(age <= self.since()?.elapsed())
    }

    /// The file that is at the path now.
    pub(super) fn now(self: &Arc<Self>) -> io::Result<OpenedFile> {
        Ok(OpenedFile { since: self.since()?, file: self.clone() })
    }

    /// Since when the file that is at the path now is known.
    fn since(&self) -> io::Result<Instant> {
        let found = id(&self.path);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(file) if file == opened.file => {
                for (suffix, known) in BESIDE.iter().zip(&mut opened.beside) {
                    *known = known.or_else(|| id(&self.beside(suffix)).ok());
                }
            }
            Ok(file) => {
                tracing::error!(path = %self.path.display(), "the database file `{}` was replaced: it is opened again", self.path.display());
                for (suffix, known) in BESIDE.iter().zip(opened.beside) {
                    self.discard(suffix, known);
                }
                *opened =
                    Opened { file, beside: [None; BESIDE.len()], since: Instant::now(), is_missing: false };
            }
            Err(error) => {
                if !opened.is_missing {
                    opened.is_missing = true;
                    tracing::error!(path = %self.path.display(), "the database file `{}` cannot be found, and nothing is read or written until it is back: {error}", self.path.display());
                }
                return Err(error);
            }
        }
        opened.is_missing = false;
        Ok(opened.since)
    }

    /// Removes what is beside the database, if it belongs to the file that was replaced.
    fn discard(&self, suffix: &str, known: Option<FileId>) {
        let path = self.beside(suffix);
        if known.is_some()
            && id(&path).ok() == known
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::error!(path = %path.display(), "cannot remove `{}`, which belongs to the replaced database: {error}", path.display());
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }
}

impl OpenedFile {
    /// Fails unless the file is still the one that is at the path.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.file.since()? == self.since {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the database file was replaced meanwhile"))
    }
}

fn id(path: &Path) -> io::Result<FileId> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_noticed_and_only_its_own_log_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let beside = |suffix: &str| directory.path().join(format!("keys.db{suffix}"));
        let age = Duration::from_secs(1);
        for file in [&path, &beside("-wal"), &beside("-shm")] {
            fs::write(file, "old").unwrap();
        }
        let file = SqliteFile::new(&path).unwrap();
        let opened = file.now().unwrap();
        assert!(opened.check().is_ok());
        assert!(file.is_open_since(Duration::ZERO).unwrap());

        let replace = |target: &Path| {
            let other = directory.path().join("other");
            fs::write(&other, "new").unwrap();
            fs::rename(other, target).unwrap();
        };
        replace(&beside("-shm"));
        replace(&path);
        assert!(opened.check().is_err());
        assert!(!file.is_open_since(age).unwrap(), "a connection of before");
        assert!(file.is_open_since(Duration::ZERO).unwrap());
        assert!(file.now().unwrap().check().is_ok());
        assert!(!beside("-wal").exists(), "it belongs to the replaced file");
        assert_eq!(fs::read_to_string(beside("-shm")).unwrap(), "new");

        let opened = file.now().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(opened.check().is_err() && file.now().is_err() && file.is_open_since(age).is_err());
    }
}
