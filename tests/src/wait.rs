//! Waits for a condition, with a time limit.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time limit of a condition, far longer than needed even on a machine that also compiles, since
/// a test that reaches it fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Short enough not to slow down tests, long enough not to use much of the processor.
const PAUSE: Duration = Duration::from_millis(5);

/// The first value that `probe` returns; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", PATIENCE.as_secs());
        sleep(PAUSE);
    }
}

/// Waits until `condition` holds; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}
