//! Where log lines go: the journal with its fields under systemd, else standard error. `journalctl` shows no fields unless
//! it is asked to, so what a line is about stands in its words too.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sends log lines to the journal when systemd has connected standard error to it.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("PUSHKEYS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).init();
        return;
    }
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false);
    registry.with(lines).init();
}
