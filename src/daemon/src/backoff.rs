//! Exponential backoff.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Waits that double with every failure, with jitter, so that the hosts of a fleet do not retry at the same moment.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    last: Duration,
}

impl Backoff {
    /// The first wait is between `first / 2` and `first`; no wait is longer than `last`.
    #[must_use]
    pub fn new(first: Duration, last: Duration) -> Self {
        // Jitter adds up to the delay itself.
        let builder = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(last / 2)
            .with_jitter()
            .without_max_times();
        Self { builder, waits: builder.build(), last }
    }

    /// The wait after another failure.
    pub fn wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(self.last)
    }

    /// Begins again with the first wait, after a success.
    pub fn reset(&mut self) {
        self.waits = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const LAST: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_up_to_the_last_and_restart_after_a_success() {
        let mut backoff = Backoff::new(FIRST, LAST);
        for _ in 0..2 {
            for failures in 0..100 {
                let most = LAST.min(FIRST * (1 << failures.min(10)));
                let wait = backoff.wait();
                assert!((most / 2..=most).contains(&wait), "{wait:?} after {failures} failures");
            }
            backoff.reset();
        }
    }

    #[test]
    fn waits_differ_between_hosts() {
        let waits = || {
            let mut backoff = Backoff::new(FIRST, LAST);
            [(); 8].map(|()| backoff.wait())
        };
        assert_ne!(waits(), waits());
    }
}
