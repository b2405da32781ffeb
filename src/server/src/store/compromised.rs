//! Keys that were reported as compromised, so that no account can register them.

use pushkeys_keys::Fingerprint;

use super::columns::now_ms;
use super::error::StoreError;
use crate::database::{Transaction, sql};

/// Whether the key of `fingerprint` was reported.
pub(super) async fn is_compromised(
    transaction: &mut Transaction,
    fingerprint: Fingerprint,
) -> Result<bool, StoreError> {
    let found: Option<i64> = sql("SELECT created_at FROM compromised_keys WHERE fingerprint = $1")
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional_value(transaction)
        .await
        .map_err(StoreError::of("look for compromised keys"))?;
    Ok(found.is_some())
}

/// Reports the key of `fingerprint`, once or again.
pub(super) async fn add_compromised(
    transaction: &mut Transaction,
    fingerprint: Fingerprint,
) -> Result<(), StoreError> {
    sql("INSERT INTO compromised_keys (fingerprint, created_at) VALUES ($1, $2)
         ON CONFLICT (fingerprint) DO NOTHING")
    .bind(fingerprint.as_bytes().as_slice())
    .bind(now_ms())
    .execute(transaction)
    .await
    .map_err(StoreError::of("report a key as compromised"))?;
    Ok(())
}
