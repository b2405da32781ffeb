//! Waiting for a condition, with a bound.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a condition may take on a machine that also compiles: far more than it ever takes, since
/// a test that waited this long fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Short enough that no test is slow by it, long enough to leave the processor to what is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// The first value that `probe` gives; panics with `what` when [`PATIENCE`] runs out.
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

/// Returns once `condition` holds; panics with `what` when [`PATIENCE`] runs out.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}
