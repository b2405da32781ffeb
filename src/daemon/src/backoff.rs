//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Waits that double with every failure, with jitter, so that a fleet does not come back in one instant.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    last: Duration,
}

impl Backoff {
    /// The first wait is between half of `first` and `first`; none is longer than `last`.
    #[must_use]
    pub fn new(first: Duration, last: Duration) -> Self {
        // The jitter that is added lies between nothing and the wait itself.
        let builder = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(last / 2)
            .with_jitter()
            .without_max_times();
        Self { builder, waits: builder.build(), last }
    }

    /// The wait after one failure more.
    pub fn wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(self.last)
    }

    /// What was tried has succeeded.
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
    fn waits_double_up_to_the_last_and_begin_again_after_a_success() {
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
    fn two_hosts_do_not_wait_alike() {
        let waits = || {
            let mut backoff = Backoff::new(FIRST, LAST);
            [(); 8].map(|()| backoff.wait())
        };
        assert_ne!(waits(), waits());
    }
}
