//! Where log lines go: the journal with their fields where systemd has connected standard error to it, else standard error.
//! `journalctl` shows no fields unless it is asked to, so what a line is about stands in its words too.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

/// What systemd says of the stream it has connected (systemd.exec(5)).
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operator's filter.
    #[error("cannot use the log filter in `{variable}`")]
    Filter {
        /// The variable of the environment that it is in.
        variable: &'static str,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A mistake of the program.
    #[error("the log was started twice")]
    Twice(#[from] TryInitError),
}

/// Sends log lines to their place, for the rest of the process. What is logged is said in `variable`, in the syntax of
/// [`EnvFilter`]; `info` and what is worse without it.
pub fn start(variable: &'static str) -> Result<(), LogError> {
    let filter = match std::env::var(variable) {
        Ok(directives) => {
            EnvFilter::try_new(directives).map_err(|source| LogError::Filter { variable, source })?
        }
        Err(_) => EnvFilter::new("info"),
    };
    // What standard error gets ends up in the journal too, without the fields.
    let is_journal =
        std::env::var(JOURNAL_VARIABLE).is_ok_and(|said| is_journal(&said, io::stderr().as_fd()));
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

/// Whether `said`, the value of the variable, means this very file: a child of a service inherits the variable, though its
/// standard error may go elsewhere.
fn is_journal(said: &str, stderr: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(stderr).is_ok_and(|file| said == format!("{}:{}", file.st_dev, file.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_journal_is_the_file_that_the_variable_names() {
        let (stream, elsewhere) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let metadata = stream.metadata().unwrap();
        let said = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(&said, stream.as_fd()));
        assert!(!is_journal(&said, elsewhere.as_fd()));
        assert!(!is_journal("", stream.as_fd()));
    }
}
