//! Rate limits of accounts and addresses.
//!
//! A limiter has a fixed number of buckets, and a keyed hash picks the bucket of each account or address. So it never
//! grows, never forgets, and no client can choose with which other it shares a bucket.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use pushkeys_keys::AccountId;
use serde::Deserialize;

use crate::client_address::TrustedProxies;

/// Buckets of a limiter, 8 bytes each.
const BUCKETS: usize = 65_536;

/// Signed requests of one account. Each is remembered for ten minutes, so an account has 32,000 of them at most.
const SIGNED: Rate =
    Rate { per_second: NonZeroU32::new(50).unwrap(), burst: NonZeroU32::new(2_000).unwrap() };

/// How many requests are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// On average.
    pub(crate) per_second: NonZeroU32,
    /// At once, after a pause.
    pub(crate) burst: NonZeroU32,
}

/// Limits each `K` to a [`Rate`].
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    rate: RateLimiter<K, Buckets<K>, DefaultClock>,
    buckets: Buckets<K>,
    /// The time after which one more request is served, in nanoseconds.
    period: u64,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self::of(Quota::per_second(rate.per_second).allow_burst(rate.burst))
    }

    /// For rates below one a second: once every `period`, and `burst` at once.
    pub(crate) fn every(period: Duration, burst: NonZeroU32) -> Self {
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self::of(quota.allow_burst(burst))
    }

    fn of(quota: Quota) -> Self {
        let buckets = Buckets::default();
        let period = u64::try_from(quota.replenish_interval().as_nanos()).unwrap_or(u64::MAX);
        let rate = RateLimiter::new(quota, buckets.clone(), DefaultClock::default());
        Self { rate, buckets, period }
    }

    /// Counts a request of `who`. `Err`: it is refused, and would be served after this time.
    pub(crate) fn check(&self, who: &K) -> Result<(), Duration> {
        self.rate.check_key(who).map_err(|refusal| refusal.wait_time_from(self.rate.clock().now()))
    }

    /// The same of `count` requests at once, at most the burst.
    pub(crate) fn check_many(&self, who: &K, count: NonZeroU32) -> Result<(), Duration> {
        match self.rate.check_key_n(who, count) {
            Ok(checked) => checked.map_err(|refusal| refusal.wait_time_from(self.rate.clock().now())),
            // More than the burst is never let through.
            Err(_) => Err(Duration::MAX),
        }
    }

    /// Does not count a request of `who` after all, which [`Self::check`] has let through.
    pub(crate) fn forgive(&self, who: &K) {
        let Some(state) = self.buckets.state(who) else { return };
        let earlier = |state: u64| Some(state.saturating_sub(self.period).max(1));
        // The closure always gives a state.
        let _ = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier);
    }
}

/// The state of each bucket, which is a time in nanoseconds, and 0 if it was never used; clones share them.
struct Buckets<K> {
    states: Arc<[AtomicU64]>,
    hasher: RandomState,
    of: PhantomData<fn(K)>,
}

impl<K> Clone for Buckets<K> {
    fn clone(&self) -> Self {
        Self { states: Arc::clone(&self.states), hasher: self.hasher.clone(), of: PhantomData }
    }
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        let states = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Self { states, hasher: RandomState::new(), of: PhantomData }
    }
}

impl<K: Hash> Buckets<K> {
    fn state(&self, key: &K) -> Option<&AtomicU64> {
        let at = self.hasher.hash_one(key) % BUCKETS as u64;
        usize::try_from(at).ok().and_then(|at| self.states.get(at))
    }
}

impl<K: Hash> StateStore for Buckets<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // The remainder is always an index of the table.
        let Some(state) = self.state(key) else { return measure(None).map(|(value, _)| value) };
        let mut before = state.load(Ordering::Acquire);
        loop {
            let (value, after) = measure((before != 0).then(|| before.into()))?;
            match state.compare_exchange_weak(before, after.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(value),
                Err(changed) => before = changed,
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self([a, b, c, d, 0, 0, 0, 0].into())
            }
        }
    }
}

/// The limits of accounts and addresses; clones count together.
#[derive(Clone)]
pub(crate) struct Limits(Arc<LimitsState>);

struct LimitsState {
    accounts: Limiter<AccountId>,
    signed: Limiter<AccountId>,
    peers: Limiter<Peer>,
    proxies: TrustedProxies,
}

impl Limits {
    /// Limits each account to `account` and each address to `address`. What `proxies` say of the address of their peer is
    /// believed.
    pub(crate) fn new(account: Rate, address: Rate, proxies: TrustedProxies) -> Self {
        Self(Arc::new(LimitsState {
            accounts: Limiter::new(account),
            signed: Limiter::new(SIGNED),
            peers: Limiter::new(address),
            proxies,
        }))
    }

    /// Whether a trusted proxy is at `address`.
    pub(crate) fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.0.proxies.contains(address)
    }

    /// The address of the client whose request came over `connection`.
    pub(crate) fn address(&self, connection: SocketAddr, headers: &HeaderMap) -> IpAddr {
        self.0.proxies.client(connection.ip(), headers)
    }

    /// Counts a request from `address`. `Err`: it is refused, and would be served after this number of seconds.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), u64> {
        self.0.peers.check(&address.into()).map_err(whole_seconds)
    }

    /// Counts a signed request of `account`. `Err`: it is refused, and would be served after this number of seconds.
    pub(crate) fn check_signed(&self, account: &AccountId) -> Result<(), u64> {
        self.0.signed.check(account).map_err(whole_seconds)
    }

    /// Counts a request of `account`. `Err`: it is refused, and would be served after this number of seconds.
    pub(crate) fn check_account(&self, account: &AccountId) -> Result<(), u64> {
        self.0.accounts.check(account).map_err(whole_seconds)
    }
}

/// Rounded up, so that a client that waits for this time is served.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_is_served_and_then_one_request_is_told_how_long_to_wait() {
        let rate = Rate { per_second: 1.try_into().unwrap(), burst: 3.try_into().unwrap() };
        let limiter = Limiter::new(rate);
        for _ in 0..3 {
            assert_eq!(limiter.check(&"ana"), Ok(()));
        }
        let wait = limiter.check(&"ana").unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limiter.check(&"bob"), Ok(()));
    }

    #[test]
    fn what_is_forgiven_counts_no_longer_and_saves_nothing_up() {
        let rate = Rate { per_second: 1.try_into().unwrap(), burst: 3.try_into().unwrap() };
        let limiter = Limiter::new(rate);
        limiter.forgive(&"ana");
        for _ in 0..100 {
            assert_eq!(limiter.check(&"ana"), Ok(()));
            limiter.forgive(&"ana");
        }
        for _ in 0..3 {
            assert_eq!(limiter.check(&"ana"), Ok(()));
        }
        assert!(limiter.check(&"ana").is_err());
    }

    #[test]
    fn the_addresses_of_one_link_are_one_peer() {
        let check = |a: &str, b: &str, is_same: bool| {
            assert_eq!(Peer::from(address(a)) == Peer::from(address(b)), is_same, "{a} {b}");
        };
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
        check("192.0.2.1", "192.0.2.2", false);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("::ffff:192.0.2.1", "::ffff:192.0.2.2", false);
    }
}
