//! Signed requests that were served, so that each is served once.
//!
//! What was seen is forgotten when the process ends: for the few minutes that a timestamp is good, somebody who
//! reads the traffic could then repeat a request. TLS keeps him from reading it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::AuthError;

/// How far a client's clock may be from ours, in seconds.
pub(super) const CLOCK_SKEW_S_MAX: i64 = 300;
/// The most requests that are remembered at once, of some 50 bytes each.
const NONCES_MAX: usize = 262_144;

/// Timestamps with digests of token and nonce: those that can no longer be repeated are all at the beginning.
type Seen = BTreeSet<(i64, [u8; 32])>;

/// The signed requests of the last minutes.
#[derive(Clone, Default)]
pub(super) struct Nonces(Arc<Mutex<Seen>>);

impl Nonces {
    /// Takes note of a request that was signed with `nonce` for `token` at `timestamp_s`; it is `now_s`.
    pub(super) fn use_once(
        &self,
        token: &str,
        nonce: &str,
        timestamp_s: i64,
        now_s: i64,
    ) -> Result<(), AuthError> {
        if (timestamp_s - now_s).abs() > CLOCK_SKEW_S_MAX {
            return Err(AuthError::Clock);
        }
        let digest = Sha256::new().chain_update(token).chain_update([0]).chain_update(nonce).finalize();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = seen.split_off(&(now_s - CLOCK_SKEW_S_MAX, [0; 32]));
        if seen.len() >= NONCES_MAX {
            // To forget one that is still good would let it be repeated.
            return Err(AuthError::TooManySigned);
        }
        if seen.insert((timestamp_s, digest.into())) { Ok(()) } else { Err(AuthError::Replayed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_000_000;

    #[test]
    fn a_nonce_serves_once_for_a_token_and_a_timestamp() {
        let nonces = Nonces::default();
        let use_once = |token, nonce, timestamp_s| nonces.use_once(token, nonce, timestamp_s, NOW_S);
        assert!(use_once("t", "n", NOW_S).is_ok());
        assert!(matches!(use_once("t", "n", NOW_S), Err(AuthError::Replayed)));
        assert!(use_once("t", "m", NOW_S).is_ok());
        assert!(use_once("u", "n", NOW_S).is_ok());
        assert!(use_once("t", "n", NOW_S + 1).is_ok());
    }

    #[test]
    fn a_timestamp_is_good_for_five_minutes_around_now() {
        let nonces = Nonces::default();
        let check = |age_s: i64, is_good: bool| {
            let used = nonces.use_once("t", "n", NOW_S - age_s, NOW_S);
            assert_eq!(used.is_ok(), is_good, "{age_s}");
        };
        check(300, true);
        check(301, false);
        check(-300, true);
        check(-301, false);
    }

    #[test]
    fn what_can_no_longer_be_repeated_is_forgotten_and_nothing_else() {
        let nonces = Nonces::default();
        nonces.use_once("t", "old", NOW_S, NOW_S).unwrap();
        nonces.use_once("t", "ahead", NOW_S + 300, NOW_S).unwrap();
        let later_s = NOW_S + 301;
        nonces.use_once("t", "new", later_s, later_s).unwrap();
        assert_eq!(nonces.0.lock().unwrap().len(), 2);
        assert!(matches!(nonces.use_once("t", "ahead", NOW_S + 300, later_s), Err(AuthError::Replayed)));
    }

    #[test]
    fn a_full_table_refuses_rather_than_forgets() {
        let nonces = Nonces::default();
        for number in 0..NONCES_MAX {
            nonces.use_once("t", &number.to_string(), NOW_S, NOW_S).unwrap();
        }
        assert!(matches!(nonces.use_once("t", "one more", NOW_S, NOW_S), Err(AuthError::TooManySigned)));
        assert!(nonces.use_once("t", "one more", NOW_S + 301, NOW_S + 301).is_ok());
    }
}
