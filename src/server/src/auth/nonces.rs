//! Nonces of signed requests, so that each request is served once.
//!
//! Replicas share them in the database. A service on SQLite has no replicas and keeps them in memory, which costs no write.
//! They are lost when the process ends, so for the few minutes that a timestamp is valid, an attacker who can read the
//! traffic could replay a request; TLS prevents the reading.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::error::{AuthError, CLOCK_SKEW_S_MAX};
use crate::store::Store;

/// The most nonces in memory, of some 50 bytes each.
const NONCES_MAX: usize = 262_144;

/// How often old rows are dropped from the database, in seconds.
const DROP_INTERVAL_S: i64 = 60;

/// Timestamps with digests of token and nonce, so that expired ones are all at the beginning.
type SeenNonces = BTreeSet<(i64, [u8; 32])>;

/// The nonces of the last minutes.
#[derive(Clone)]
pub(super) enum Nonces {
    Own(OwnNonces),
    Shared(SharedNonces),
}

impl Nonces {
    /// In memory or in the database, as `store` requires.
    pub(super) fn of(store: &Store) -> Self {
        if store.has_replicas() {
            Self::Shared(SharedNonces { store: store.clone(), dropped_at_s: Arc::default() })
        } else {
            Self::Own(OwnNonces::default())
        }
    }

    /// Uses `nonce` of a request signed for `token` at `timestamp_s`, or refuses it; the time is `now_s`.
    pub(super) async fn use_once(
        &self,
        token: &str,
        nonce: &str,
        timestamp_s: i64,
        now_s: i64,
    ) -> Result<(), AuthError> {
        check_clock(timestamp_s, now_s)?;
        let digest = digest(token, nonce);
        match self {
            Self::Own(nonces) => nonces.use_once(digest, timestamp_s, now_s),
            Self::Shared(nonces) => nonces.use_once(digest, timestamp_s, now_s).await,
        }
    }
}

fn check_clock(timestamp_s: i64, now_s: i64) -> Result<(), AuthError> {
    if (timestamp_s - now_s).abs() > CLOCK_SKEW_S_MAX { Err(AuthError::Clock) } else { Ok(()) }
}

fn digest(token: &str, nonce: &str) -> [u8; 32] {
    Sha256::new().chain_update(token).chain_update([0]).chain_update(nonce).finalize().into()
}

/// In the database. The rate limits of accounts bound their number.
#[derive(Clone)]
pub(super) struct SharedNonces {
    store: Store,
    dropped_at_s: Arc<AtomicI64>,
}

impl SharedNonces {
    async fn use_once(&self, digest: [u8; 32], timestamp_s: i64, now_s: i64) -> Result<(), AuthError> {
        if self.dropped_at_s.load(Ordering::Relaxed) + DROP_INTERVAL_S <= now_s {
            self.dropped_at_s.store(now_s, Ordering::Relaxed);
            // Twice the tolerance, since the clocks of replicas differ.
            self.store.remove_nonces(now_s - 2 * CLOCK_SKEW_S_MAX).await?;
        }
        if self.store.add_nonce(timestamp_s, &digest).await? { Ok(()) } else { Err(AuthError::Replayed) }
    }
}

/// In memory.
#[derive(Clone, Default)]
pub(super) struct OwnNonces(Arc<Mutex<SeenNonces>>);

impl OwnNonces {
    fn use_once(&self, digest: [u8; 32], timestamp_s: i64, now_s: i64) -> Result<(), AuthError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = seen.split_off(&(now_s - CLOCK_SKEW_S_MAX, [0; 32]));
        if seen.len() >= NONCES_MAX {
            // A forgotten nonce that is still valid could be replayed.
            return Err(AuthError::TooManySigned);
        }
        if seen.insert((timestamp_s, digest)) { Ok(()) } else { Err(AuthError::Replayed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_000_000;

    #[test]
    fn a_nonce_serves_once_for_a_token_and_a_timestamp() {
        let nonces = OwnNonces::default();
        let use_once = |token, nonce, timestamp_s| nonces.use_once(digest(token, nonce), timestamp_s, NOW_S);
        assert!(use_once("t", "n", NOW_S).is_ok());
        assert!(matches!(use_once("t", "n", NOW_S), Err(AuthError::Replayed)));
        assert!(use_once("t", "m", NOW_S).is_ok());
        assert!(use_once("u", "n", NOW_S).is_ok());
        assert!(use_once("t", "n", NOW_S + 1).is_ok());
    }

    #[test]
    fn a_timestamp_is_valid_for_five_minutes_around_now() {
        let check = |age_s: i64, is_good: bool| {
            assert_eq!(check_clock(NOW_S - age_s, NOW_S).is_ok(), is_good, "{age_s}");
        };
        check(300, true);
        check(301, false);
        check(-300, true);
        check(-301, false);
    }

    #[test]
    fn only_expired_nonces_are_forgotten() {
        let nonces = OwnNonces::default();
        nonces.use_once(digest("t", "old"), NOW_S, NOW_S).unwrap();
        nonces.use_once(digest("t", "ahead"), NOW_S + 300, NOW_S).unwrap();
        let later_s = NOW_S + 301;
        nonces.use_once(digest("t", "new"), later_s, later_s).unwrap();
        assert_eq!(nonces.0.lock().unwrap().len(), 2);
        let again = nonces.use_once(digest("t", "ahead"), NOW_S + 300, later_s);
        assert!(matches!(again, Err(AuthError::Replayed)));
    }

    #[test]
    fn a_full_table_refuses_rather_than_forgets() {
        let nonces = OwnNonces::default();
        let use_at = |nonce: &str, now_s| nonces.use_once(digest("t", nonce), now_s, now_s);
        for number in 0..NONCES_MAX {
            use_at(&number.to_string(), NOW_S).unwrap();
        }
        assert!(matches!(use_at("another", NOW_S), Err(AuthError::TooManySigned)));
        assert!(use_at("another", NOW_S + 301).is_ok());
    }
}
