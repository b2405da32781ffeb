//! Values as the tables keep them.

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_feed::{Chain, Cursor, Epoch, KeySum, Position};
use pushkeys_keys::{AccountId, Expiry, Fingerprint, KeyId, Name};

use super::error::StoreError;

/// Integers of the databases are signed; our numbers count up from 0.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::malformed("a negative number"))
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

pub(super) fn instant(ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_| StoreError::malformed("a time"))
}

pub(super) fn expiry(ms: i64) -> Result<Expiry, StoreError> {
    Expiry::from_millisecond(ms).map_err(|_| StoreError::malformed("a key's expiry"))
}

/// `age` before `now_ms`.
pub(super) fn ms_before(now_ms: i64, age: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// `delay` after `now_ms`.
pub(super) fn ms_after(now_ms: i64, delay: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn account_id(text: &str) -> Result<AccountId, StoreError> {
    text.parse().map_err(|_| StoreError::malformed("an account id"))
}

pub(super) fn account_name(text: &str) -> Result<Name, StoreError> {
    Name::parse(text).map_err(|_| StoreError::malformed("an account's name"))
}

pub(super) fn key_id(text: &str) -> Result<KeyId, StoreError> {
    text.parse().map_err(|_| StoreError::malformed("a key id"))
}

pub(super) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    bytes.try_into().map(Fingerprint::from_bytes).map_err(|_| StoreError::malformed("a fingerprint"))
}

pub(super) fn chain(bytes: &[u8]) -> Result<Chain, StoreError> {
    bytes.try_into().map(Chain::from_bytes).map_err(|_| StoreError::malformed("a chain value"))
}

/// Number and digest of all keys, from two columns.
pub(super) fn key_sum(keys: i64, digest: &str) -> Result<KeySum, StoreError> {
    let digest = digest.parse().map_err(|_| StoreError::malformed("a digest of keys"))?;
    Ok(KeySum { keys: from_sql(keys)?, digest })
}

/// A position in the history, from three columns.
pub(super) fn position(epoch: &str, sequence: i64, bytes: &[u8]) -> Result<Position, StoreError> {
    Ok(Position { cursor: cursor(epoch, sequence)?, chain: Some(chain(bytes)?) })
}

/// A place in the feed, from two columns.
pub(super) fn cursor(epoch: &str, sequence: i64) -> Result<Cursor, StoreError> {
    let epoch: Epoch = epoch.parse().map_err(|_| StoreError::malformed("an epoch"))?;
    Ok(Cursor { epoch, sequence: from_sql(sequence)? })
}
