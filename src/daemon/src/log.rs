//! Where log lines go: to the journal, with their fields, if systemd connected standard error to it, else to standard error.
//! `journalctl` hides fields by default, so a line's text also names its object.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

/// systemd sets it to device and inode of the stream (systemd.exec(5)).
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Why logging could not be started.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operator's filter is invalid.
    #[error("cannot use the log filter in `{variable}`")]
    Filter {
        /// The environment variable with the filter.
        variable: &'static str,
        /// The parser's error.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A bug of the program.
    #[error("the log was started twice")]
    Twice(#[from] TryInitError),
}

/// Starts logging for the rest of the process. The environment variable `variable` holds the filter in the syntax of
/// [`EnvFilter`]; the default is `info`.
pub fn start(variable: &'static str) -> Result<(), LogError> {
    let filter = match std::env::var(variable) {
        Ok(directives) => {
            EnvFilter::try_new(directives).map_err(|source| LogError::Filter { variable, source })?
        }
        Err(_) => EnvFilter::new("info"),
    };
    // Lines on standard error would reach the journal, too, but without fields.
    let is_journal =
        std::env::var(JOURNAL_VARIABLE).is_ok_and(|value| is_journal(&value, io::stderr().as_fd()));
    let journal = is_journal.then(tracing_journald::layer).and_then(Result::ok);
    let layer = match journal {
        Some(journal) => journal.boxed(),
        None => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    Ok(tracing_subscriber::registry().with(filter).with(layer).try_init()?)
}

/// Whether `value` of the variable names this very file: a child of a service inherits the variable, but its standard error
/// may be another file.
fn is_journal(value: &str, stderr: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(stderr).is_ok_and(|file| value == format!("{}:{}", file.st_dev, file.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_journal_is_the_file_that_the_variable_names() {
        let (stream, elsewhere) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let metadata = stream.metadata().unwrap();
        let value = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(&value, stream.as_fd()));
        assert!(!is_journal(&value, elsewhere.as_fd()));
        assert!(!is_journal("", stream.as_fd()));
    }
}
