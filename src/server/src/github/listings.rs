//! A short cache of listings: pages are loaded more often than keys change, and GitHub limits the rate of requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pushkeys_keys::AccountId;

use super::api::Listing;

/// The maximum number of cached listings, and of keys in one: about 20 MiB at most, usually far less.
const LISTINGS_MAX: usize = 256;
const KEYS_MAX: usize = 100;
/// How long a listing is used without a request to GitHub.
const FRESH_FOR: Duration = Duration::from_secs(20);

/// The cache; each replica has its own.
#[derive(Default)]
pub(super) struct Listings(Mutex<HashMap<AccountId, Remembered>>);

#[derive(Clone)]
pub(super) struct Remembered {
    pub(super) listing: Arc<Listing>,
    /// The GitHub user: after linking to another one, the listing is another.
    user: i64,
    read_at: Instant,
}

impl Remembered {
    pub(super) fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < FRESH_FOR
    }
}

impl Listings {
    /// The cached listing of `user`, to which `account` is linked.
    pub(super) fn of(&self, account: &AccountId, user: i64) -> Option<Remembered> {
        let listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listings.get(account).filter(|remembered| remembered.user == user).cloned()
    }

    pub(super) fn remember(&self, account: &AccountId, user: i64, listing: &Arc<Listing>) {
        let mut listings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listings.remove(account);
        if listing.keys.len() > KEYS_MAX {
            return;
        }
        if listings.len() >= LISTINGS_MAX {
            let oldest = listings.iter().min_by_key(|(_, listing)| listing.read_at);
            if let Some(oldest) = oldest.map(|(account, _)| account.clone()) {
                listings.remove(&oldest);
            }
        }
        let listing = Arc::clone(listing);
        listings.insert(account.clone(), Remembered { listing, user, read_at: Instant::now() });
    }

    pub(super) fn forget(&self, account: &AccountId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_of_one_link_and_the_oldest_goes_first() {
        let listings = Listings::default();
        let account = |number: usize| format!("acct_{number}").parse::<AccountId>().unwrap();
        for number in 0..=LISTINGS_MAX {
            listings.remember(&account(number), 7, &Arc::default());
        }
        assert!(listings.of(&account(0), 7).is_none());
        assert!(listings.of(&account(LISTINGS_MAX), 7).is_some_and(|listing| listing.is_fresh()));
        assert!(listings.of(&account(LISTINGS_MAX), 8).is_none());
        listings.forget(&account(LISTINGS_MAX));
        assert!(listings.of(&account(LISTINGS_MAX), 7).is_none());
    }
}
