//! Rate limits of accounts and addresses.
//!
//! A limiter has a fixed number of buckets, and a keyed hash picks the bucket of each account or address. So it never
//! grows, never forgets, and no client can choose with which other it shares a bucket.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use pushkeys_keys::AccountId;
use serde::Deserialize;

/// Buckets of a limiter, 8 bytes each.
const BUCKETS: usize = 65_536;
/// The most proxies between a client and us.
const HOPS_MAX: usize = 16;
/// The header to which proxies add the address of their peer.
const FORWARDED_FOR: &str = "x-forwarded-for";

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
pub(crate) struct Limiter<K: Hash + Eq + Clone>(RateLimiter<K, Buckets<K>, DefaultClock>);

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self(RateLimiter::new(quota, Buckets::default(), DefaultClock::default()))
    }

    /// For rates below one a second: once every `period`, and `burst` at once.
    pub(crate) fn every(period: Duration, burst: NonZeroU32) -> Self {
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self(RateLimiter::new(quota.allow_burst(burst), Buckets::default(), DefaultClock::default()))
    }

    /// Counts a request of `who`. `Err`: it is refused, and would be served after this time.
    pub(crate) fn check(&self, who: &K) -> Result<(), Duration> {
        self.0.check_key(who).map_err(|refusal| refusal.wait_time_from(self.0.clock().now()))
    }
}

struct Buckets<K> {
    states: Box<[InMemoryState]>,
    hasher: RandomState,
    of: std::marker::PhantomData<fn(K)>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        let states = std::iter::repeat_with(InMemoryState::default).take(BUCKETS).collect();
        Self { states, hasher: RandomState::new(), of: std::marker::PhantomData }
    }
}

impl<K: Hash> StateStore for Buckets<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let at = self.hasher.hash_one(key) % BUCKETS as u64;
        let state = usize::try_from(at).ok().and_then(|at| self.states.get(at));
        match state {
            Some(state) => state.measure_and_replace(&NotKeyed::NonKey, measure),
            // The remainder is always an index of the table.
            None => measure(None).map(|(value, _)| value),
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

/// The address of the client: the connection's, or, if that is a trusted proxy, the last one in `X-Forwarded-For` that
/// is not.
pub(crate) fn client_address(connection: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpAddr]) -> IpAddr {
    let values = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|value| value.to_str().ok());
    let mut hops = values.flat_map(|value| value.rsplit(',')).take(HOPS_MAX);
    let mut address = connection.to_canonical();
    while trusted_proxies.contains(&address) {
        match hops.next().map(|hop| hop.trim().parse::<IpAddr>()) {
            Some(Ok(hop)) => address = hop.to_canonical(),
            _ => break,
        }
    }
    address
}

/// The limits of accounts and addresses; clones count together.
#[derive(Clone)]
pub(crate) struct Limits(Arc<LimitsState>);

struct LimitsState {
    accounts: Limiter<AccountId>,
    peers: Limiter<Peer>,
    trusted_proxies: Vec<IpAddr>,
}

impl Limits {
    /// Limits each account to `account` and each address to `address`. What `trusted_proxies` say of the address of
    /// their peer is believed.
    pub(crate) fn new(account: Rate, address: Rate, trusted_proxies: &[IpAddr]) -> Self {
        Self(Arc::new(LimitsState {
            accounts: Limiter::new(account),
            peers: Limiter::new(address),
            trusted_proxies: trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
        }))
    }

    /// The address of the client whose request came over `connection`.
    pub(crate) fn address(&self, connection: SocketAddr, headers: &HeaderMap) -> IpAddr {
        client_address(connection.ip(), headers, &self.0.trusted_proxies)
    }

    /// Counts a request from `address`. `Err`: it is refused, and would be served after this number of seconds.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), u64> {
        self.0.peers.check(&address.into()).map_err(whole_seconds)
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
    use axum::http::HeaderValue;

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

    #[test]
    fn only_a_trusted_proxy_is_believed_about_who_asks() {
        let trusted = [address("10.0.0.1"), address("10.0.0.2")];
        let check = |connection: &str, forwarded: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
            }
            let found = client_address(address(connection), &headers, &trusted);
            assert_eq!(found, address(expected), "{connection} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["unknown"], "10.0.0.1");
        check("10.0.0.1", &[&["10.0.0.2"; 100].join(",")], "10.0.0.2");
    }
}
