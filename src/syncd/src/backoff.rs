//! How long to wait before a source is asked again.

use std::time::Duration;

use pushkeys_daemon::Backoff;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait of all: an outage that ends is noticed within this time.
const LAST: Duration = Duration::from_secs(30);

/// The waits before a source is asked again.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(FIRST, LAST)
}
