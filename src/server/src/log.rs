//! Where the log goes: the journal when systemd started us with it as standard error, else standard error. `journalctl` shows
//! no fields unless it is asked to, so what a line is about stands in its words too.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// What is logged, in the syntax of tracing-subscriber's `EnvFilter`; `info` without it.
pub(crate) const FILTER_VARIABLE: &str = "PUSHKEYS_SERVER_LOG";

/// Sends the log to its place, for the rest of the process.
pub(crate) fn start() -> anyhow::Result<()> {
    let layer = if is_journal(io::stderr().as_fd()) {
        tracing_journald::layer().context("cannot reach the journal")?.boxed()
    } else {
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed()
    };
    tracing_subscriber::registry().with(filter()?).with(layer).try_init().context("the log was started twice")
}

fn filter() -> anyhow::Result<EnvFilter> {
    match std::env::var(FILTER_VARIABLE) {
        Ok(directives) => EnvFilter::try_new(directives)
            .with_context(|| format!("cannot use the log filter in `{FILTER_VARIABLE}`")),
        Err(_) => Ok(EnvFilter::new("info")),
    }
}

/// Whether `JOURNAL_STREAM` means this very file: a child of a service inherits the variable, though its
/// standard error may go elsewhere (systemd.exec(5)).
fn is_journal(stderr: BorrowedFd<'_>) -> bool {
    let (Ok(journal), Ok(file)) = (std::env::var("JOURNAL_STREAM"), rustix::fs::fstat(stderr)) else {
        return false;
    };
    journal == format!("{}:{}", file.st_dev, file.st_ino)
}
