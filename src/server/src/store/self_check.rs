//! Number and digest of all keys, which each change carries forward, against the table of keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pushkeys_feed::KeySum;

use super::FeedState;
use super::error::StoreError;
use super::handle::Store;
use super::history::{digest_of, renew, sum_of_keys};

/// Keys that are read at once.
const KEYS_PER_PAGE: u32 = 1_000;

/// Differences that were found since this process began.
static DIFFERENCES: AtomicU64 = AtomicU64::new(0);

/// Differences between the digest and the table of keys that were found since this process began.
pub(crate) fn sum_differences() -> u64 {
    DIFFERENCES.load(Ordering::Relaxed)
}

/// Number and digest of all keys, which are not those of the table of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SumDifference {
    /// What hosts are told.
    pub(crate) told: KeySum,
    /// What the keys in the table come to.
    pub(crate) found: KeySum,
}

impl Store {
    /// Compares number and digest of all keys with the table of keys, as of one moment. Rests for `pause` after each thousand keys.
    pub(crate) async fn find_sum_difference(
        &self,
        pause: Duration,
    ) -> Result<Option<SumDifference>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        let told = snapshot.header().sum.unwrap_or_default();
        let mut found = KeySum::default();
        while let Some(page) = snapshot.next_page(KEYS_PER_PAGE).await? {
            page.entries.lines().filter_map(digest_of).for_each(|digest| found.add(digest));
            tokio::time::sleep(pause).await;
        }
        Ok(Some(SumDifference { told, found }).filter(|_| told != found))
    }

    /// Takes number and digest of all keys from the table, and begins a new epoch if they were others: something else than this
    /// program has written to the table, and hosts were not told of it. Returns whether they were others.
    pub(crate) async fn repair_sum(&self) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let state = FeedState::read(&mut transaction).await?;
        let sum = sum_of_keys(&mut transaction).await?;
        if sum == state.sum {
            return Ok(false);
        }
        DIFFERENCES.fetch_add(1, Ordering::Relaxed);
        let state = renew(&mut transaction, FeedState { sum, ..state }, self.last_seen().as_ref()).await?;
        self.commit(transaction).await?;
        self.saw(&state.head);
        Ok(true)
    }
}
