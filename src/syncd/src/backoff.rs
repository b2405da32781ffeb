//! How long to wait before trying again.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait of all: an outage that ends is noticed within this time.
const LAST: Duration = Duration::from_secs(30);
/// 250 ms doubled seven times is more than [`LAST`].
const DOUBLINGS_MAX: u32 = 7;

/// Exponential waits with jitter, so that a fleet does not reconnect in one instant.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: between half of and the whole of a bound that doubles with every failure.
    pub(crate) fn next(&mut self) -> Duration {
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        let wait = wait(self.failures, random);
        self.failures = (self.failures + 1).min(DOUBLINGS_MAX);
        wait
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn wait(failures: u32, random: u32) -> Duration {
    let bound = LAST.min(FIRST * (1 << failures.min(DOUBLINGS_MAX)));
    let half = bound / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let check = |failures, milliseconds: (u64, u64)| {
            let bounds = (wait(failures, 0), wait(failures, u32::MAX));
            let expected = (Duration::from_millis(milliseconds.0), Duration::from_millis(milliseconds.1));
            assert_eq!(bounds, expected, "after {failures} failures");
        };
        check(0, (125, 250));
        check(1, (250, 500));
        check(6, (8_000, 16_000));
        check(7, (15_000, 30_000));
        check(u32::MAX, (15_000, 30_000));
    }

    #[test]
    fn a_success_starts_from_the_first_wait() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert!(backoff.next() <= LAST);
        }
        assert!(backoff.next() >= LAST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
