//! How often hosts may cause a new epoch, by naming positions that the database does not have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::HostId;

/// The least time between two epochs that one host causes: a stolen token must not keep a fleet busy with snapshots.
const HOST_INTERVAL: Duration = Duration::from_hours(1);
/// The least time between two epochs that any hosts cause.
const INTERVAL: Duration = Duration::from_secs(15);

/// When hosts caused a new epoch; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct HostEpochs(Arc<Mutex<HashMap<HostId, Instant>>>);

impl HostEpochs {
    /// Whether `host` may cause a new epoch now.
    pub(super) fn may_begin(&self, host: &HostId) -> bool {
        self.may_begin_at(host, Instant::now())
    }

    /// Notes that `host` has caused one.
    pub(super) fn has_begun(&self, host: HostId) {
        self.lock().insert(host, Instant::now());
    }

    fn may_begin_at(&self, host: &HostId, now: Instant) -> bool {
        let mut begun = self.lock();
        begun.retain(|_, at| now.duration_since(*at) < HOST_INTERVAL);
        !begun.contains_key(host) && begun.values().all(|at| now.duration_since(*at) >= INTERVAL)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_and_all_together_are_limited() {
        let epochs = HostEpochs::default();
        let (first, second) = (HostId::of("host_1"), HostId::of("host_2"));
        let begun = Instant::now();
        assert!(epochs.may_begin_at(&first, begun));
        epochs.has_begun(first.clone());
        let check = |host: &HostId, after: Duration, expected: bool| {
            assert_eq!(epochs.may_begin_at(host, Instant::now() + after), expected, "{host} after {after:?}");
        };
        check(&second, Duration::ZERO, false);
        check(&second, INTERVAL, true);
        check(&first, INTERVAL, false);
        check(&first, HOST_INTERVAL, true);
    }
}
