//! Nonces of signed requests, so that each request is served once, also after a restart.
//!
//! They are in the database. On SQLite, where one connection writes, those that come at the same time are written by one
//! transaction: a client waits for one write of the disk, however many sign their requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pushkeys_keys::ErrorReport;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::error::{AuthError, CLOCK_SKEW_S_MAX};
use crate::store::{Nonce, Store};

/// The most nonces in one transaction, and that wait for the next one.
const BATCH_MAX: usize = 512;
/// How often old rows are dropped from the database, in seconds.
const DROP_INTERVAL_S: i64 = 60;

/// The nonce `text` of a request signed for `token` at `timestamp_s`; the time is `now_s`.
pub(super) fn nonce(token: &str, text: &str, timestamp_s: i64, now_s: i64) -> Result<Nonce, AuthError> {
    if (timestamp_s - now_s).abs() > CLOCK_SKEW_S_MAX {
        return Err(AuthError::Clock);
    }
    let digest = Sha256::new().chain_update(token).chain_update([0]).chain_update(text).finalize().into();
    Ok(Nonce { timestamp_s, digest })
}

/// A nonce that waits for the next transaction, and where to say whether it is new.
type Waiting = (Nonce, oneshot::Sender<bool>);

/// The nonces of the last minutes; clones share them.
#[derive(Clone)]
pub(super) struct Nonces {
    store: Store,
    waiting: mpsc::Sender<Waiting>,
    dropped_at_s: Arc<AtomicI64>,
}

impl Nonces {
    /// Those in `store`.
    pub(super) fn of(store: &Store) -> Self {
        let (waiting, received) = mpsc::channel(BATCH_MAX);
        if !store.has_replicas() {
            tokio::spawn(write(store.clone(), received));
        }
        Self { store: store.clone(), waiting, dropped_at_s: Arc::default() }
    }

    /// Uses `nonce`, or refuses it; the time is `now_s`.
    pub(super) async fn use_once(&self, nonce: Nonce, now_s: i64) -> Result<(), AuthError> {
        if self.dropped_at_s.load(Ordering::Relaxed) + DROP_INTERVAL_S <= now_s {
            self.dropped_at_s.store(now_s, Ordering::Relaxed);
            // Twice the tolerance, since the clocks of replicas differ.
            self.store.remove_nonces(now_s - 2 * CLOCK_SKEW_S_MAX).await?;
        }
        let is_new = if self.store.has_replicas() {
            self.store.add_nonce(&nonce).await?
        } else {
            let (answer, answered) = oneshot::channel();
            // The task ends with the process, and gives no answer where the database fails.
            self.waiting.send((nonce, answer)).await.map_err(|_| AuthError::NotRecorded)?;
            answered.await.map_err(|_| AuthError::NotRecorded)?
        };
        if is_new { Ok(()) } else { Err(AuthError::Replayed) }
    }
}

/// Writes what waits, again and again.
async fn write(store: Store, mut received: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while received.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let nonces: HashSet<Nonce> = batch.iter().map(|(nonce, _)| *nonce).collect();
        let mut added = match store.add_nonces(nonces).await {
            Ok(added) => added,
            Err(error) => {
                tracing::error!("signed requests fail: {}", ErrorReport::of(&error));
                batch.clear();
                continue;
            }
        };
        for (nonce, answer) in batch.drain(..) {
            // Of two that are the same, the first one is served. A client that went away reads no answer.
            let _ = answer.send(added.remove(&nonce));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_000_000;

    #[test]
    fn a_timestamp_is_valid_for_five_minutes_around_now() {
        let check = |age_s: i64, is_valid: bool| {
            assert_eq!(nonce("t", "n", NOW_S - age_s, NOW_S).is_ok(), is_valid, "{age_s}");
        };
        check(300, true);
        check(301, false);
        check(-300, true);
        check(-301, false);
    }

    #[test]
    fn a_nonce_is_that_of_a_token_and_a_timestamp() {
        let nonce = |token, text, timestamp_s| nonce(token, text, timestamp_s, NOW_S).unwrap();
        assert_eq!(nonce("t", "n", NOW_S), nonce("t", "n", NOW_S));
        let others = [nonce("t", "m", NOW_S), nonce("u", "n", NOW_S), nonce("t", "n", NOW_S + 1)];
        assert!(others.iter().all(|other| *other != nonce("t", "n", NOW_S)));
    }
}
