//! How many connections there are, and how many of one client.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rate_limit::Peer;

/// Slots for connections; clones share them.
#[derive(Clone)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    of_peers: Arc<Mutex<HashMap<Peer, usize>>>,
    peer_max: usize,
}

/// One of the slots of a client, until it is dropped.
pub(super) struct PeerSlot {
    peer: Peer,
    of_peers: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Slots {
    /// `max` slots, of which one client can have `peer_max`.
    pub(super) fn new(max: usize, peer_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(max)), of_peers: Arc::default(), peer_max }
    }

    /// Waits until there is a slot for another connection.
    pub(super) async fn free(&self) -> io::Result<OwnedSemaphorePermit> {
        self.all.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// A slot of `peer`. `None`: it has the most that it can have.
    pub(super) fn of(&self, peer: Peer) -> Option<PeerSlot> {
        let mut of_peers = lock(&self.of_peers);
        let count = of_peers.entry(peer).or_default();
        if *count >= self.peer_max {
            return None;
        }
        *count += 1;
        Some(PeerSlot { peer, of_peers: Arc::clone(&self.of_peers) })
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        let mut of_peers = lock(&self.of_peers);
        if let Some(count) = of_peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                of_peers.remove(&self.peer);
            }
        }
    }
}

fn lock(of_peers: &Mutex<HashMap<Peer, usize>>) -> MutexGuard<'_, HashMap<Peer, usize>> {
    // A count is changed by one step.
    of_peers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn one_client_has_its_share_and_no_client_takes_that_of_another() {
        let slots = Slots::new(8, 2);
        let peer = |address: &str| Peer::from(address.parse::<IpAddr>().unwrap());
        let held = [slots.of(peer("2001:db8::1")), slots.of(peer("2001:db8::2"))];
        assert!(held.iter().all(Option::is_some));
        assert!(slots.of(peer("2001:db8::3")).is_none(), "the same /64");
        assert!(slots.of(peer("2001:db8:0:1::1")).is_some(), "another one");
        drop(held);
        assert!(slots.of(peer("2001:db8::3")).is_some());
        assert!(lock(&slots.of_peers).is_empty(), "nothing is kept of a client that has gone");
    }
}
