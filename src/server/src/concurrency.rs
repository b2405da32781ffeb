//! How much of something each client, account or host has at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what each `K` has at once; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency<K> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    max: usize,
}

/// One of what a `K` has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running<K: Hash + Eq> {
    of: K,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Hash + Eq + Clone> Concurrency<K> {
    /// Each `K` has `max` at most.
    pub(crate) fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    /// Counts another one of `of`, until it is dropped. `None`: it has the most that it can have.
    pub(crate) fn begin(&self, of: K) -> Option<Running<K>> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(of.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Running { of, counts: Arc::clone(&self.counts) })
    }
}

impl<K: Hash + Eq> Drop for Running<K> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

fn lock<K>(counts: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    // A count is changed by one step.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::rate_limit::Peer;

    #[test]
    fn one_client_has_its_share_and_takes_none_of_another() {
        let connections = Concurrency::new(2);
        let begin = |address: &str| connections.begin(Peer::from(address.parse::<IpAddr>().unwrap()));
        let held = [begin("2001:db8::1"), begin("2001:db8::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(begin("2001:db8::3").is_none(), "the same /64");
        assert!(begin("2001:db8:0:1::1").is_some(), "another one");
        drop(held);
        assert!(begin("2001:db8::3").is_some());
        assert!(lock(&connections.counts).is_empty(), "nothing is kept of a client that has gone");
    }
}
