//! What can go wrong with a cache, sorted by who can do something about it.

use std::io;
use std::path::{Path, PathBuf};

use pushkeys_files::{ReadFileError, Untrusted, WriteFileError};
use pushkeys_keys::Hint;
use thiserror::Error;

/// Why a cache, or a part of it, could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is nothing yet: syncd has not finished its first sync, or the path is wrong.
    #[error("there is no `{}`", .0.display())]
    Missing(PathBuf),
    /// The system said no.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What was opened or read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another user than the cache's owner could have written it.
    #[error(transparent)]
    Unsafe(#[from] Untrusted),
    /// The bytes are not what the writer wrote.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        source: Damage,
    },
    /// New generations came in faster than this reader could open one.
    #[error("`{}` was replaced again and again while it was being read", .0.display())]
    Raced(PathBuf),
}

/// What does not hold in a file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// A bit has changed since the line was written.
    #[error("the checksum of a line does not match it")]
    Checksum,
    /// A line does not have the fields of its kind, or one of them cannot be read.
    #[error("a line cannot be read")]
    Fields,
    /// Longer than any line that the writer makes.
    #[error("a line is too long")]
    LineTooLong,
    /// The first or last line is not the shard's sentinel: the file was cut short or is another one.
    #[error("the first or last line is not that of this shard: the file was cut short or is another one")]
    Sentinel,
    /// Lines are not in strictly ascending order.
    #[error("the lines are out of order")]
    Order,
    /// A key stands in a shard that its fingerprint does not belong to.
    #[error("a line belongs to another shard")]
    WrongShard,
    /// The sentinels say another number of lines.
    #[error("the number of lines is not the one that was written")]
    Count,
    /// The folder of the generation, or one of its shards, is gone.
    #[error("it is missing, though HEAD says that it is in force")]
    Gone,
    /// HEAD was written by a newer pushkeys.
    #[error("its format is not the one that this program reads; upgrade this program")]
    Format,
}

/// Why the cache could not be written. What was in force before still is.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The system said no: a full disk, a missing right.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the writer's lock.
    #[error("another process is writing to `{}`", .0.display())]
    Locked(PathBuf),
    /// What is in force cannot be read; a new generation heals it.
    #[error("what is in force cannot be carried on")]
    InForce(#[from] ReadError),
    /// A host's own revocations are for the time until the service agrees.
    #[error("more than {max} keys and accounts would be revoked on this host")]
    TooManyRevocations {
        /// The most that a host holds.
        max: usize,
        /// Where the others are removed.
        #[source]
        hint: Hint,
    },
    /// There is nothing in force that a change could be applied to.
    #[error("no generation is in force in `{}`", .0.display())]
    NoGeneration(PathBuf),
    /// Entries did not come in ascending order of their fingerprints.
    #[error("the entries of a generation are out of order")]
    Order,
    /// An entry breaks a bound of the format.
    #[error("an entry exceeds what a line of the cache can hold")]
    EntryTooLong,
    /// Notes that HEAD cannot hold.
    #[error("the notes are longer than {bytes_max} bytes or not printable")]
    Notes {
        /// The longest that HEAD holds.
        bytes_max: usize,
    },
    /// A cursor that HEAD cannot hold.
    #[error("the cursor is longer than {bytes_max} bytes or not printable")]
    Cursor {
        /// The longest that HEAD holds.
        bytes_max: usize,
    },
}

impl ReadError {
    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing(path.to_owned())
        } else {
            Self::Io { path: path.to_owned(), source }
        }
    }

    /// The same, of a part of the generation in force, where nothing may be missing.
    pub(crate) fn in_force(self) -> Self {
        match self {
            Self::Missing(path) => Self::Damaged { path, source: Damage::Gone },
            other => other,
        }
    }

    pub(crate) fn damaged(path: &Path, source: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), source }
    }
}

impl From<ReadFileError> for ReadError {
    fn from(error: ReadFileError) -> Self {
        match error {
            ReadFileError::Io { path, source } => Self::io(&path, source),
            ReadFileError::Untrusted(why) => Self::Unsafe(why),
            ReadFileError::TooLong { path, .. } => Self::Damaged { path, source: Damage::LineTooLong },
            ReadFileError::NotText(path) => Self::Damaged { path, source: Damage::Fields },
        }
    }
}

impl From<WriteFileError> for WriteError {
    fn from(WriteFileError { what, path, source }: WriteFileError) -> Self {
        Self::Io { what, path, source }
    }
}

impl WriteError {
    pub(crate) fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}
