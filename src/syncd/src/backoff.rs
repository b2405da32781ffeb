//! How long to wait before a key service is asked again.

use std::time::Duration;

use pushkeys_daemon::Backoff;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait while a service cannot be reached or the cache cannot be written: its return is noticed within this time.
const OUTAGE_LAST: Duration = Duration::from_secs(5);
/// The longest wait of all: a service whose answers are refused, or that refuses ours, is left alone for this long.
const REFUSAL_LAST: Duration = Duration::from_secs(30);

/// The waits before a report is tried again.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(FIRST, REFUSAL_LAST)
}

/// The waits before a source is asked again. They grow until the source has made lasting progress.
#[derive(Debug)]
pub(crate) struct SourceBackoff {
    outage: Backoff,
    refusal: Backoff,
}

impl SourceBackoff {
    pub(crate) fn new() -> Self {
        Self { outage: Backoff::new(FIRST, OUTAGE_LAST), refusal: backoff() }
    }

    /// The wait after an outage, or after a refusal. Each has a count of its own: a service that restarts between two
    /// refusals is not refused for the first time.
    pub(crate) fn wait(&mut self, is_outage: bool) -> Duration {
        if is_outage { self.outage.wait() } else { self.refusal.wait() }
    }

    /// The source has made progress that lasts.
    pub(crate) fn reset(&mut self) {
        self.outage.reset();
        self.refusal.reset();
    }
}
