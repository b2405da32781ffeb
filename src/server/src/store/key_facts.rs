//! Type and size of keys: stored at registration, and filled in for keys that an older version stored.

use pushkeys_keys::{Policy, ValidKey};

use super::error::StoreError;
use super::handle::Store;
use crate::database::sql;

/// Keys per transaction: other writers wait for a few milliseconds.
const KEYS_PER_BATCH: u32 = 500;

/// Type and size of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFacts {
    /// Such as `ssh-ed25519`.
    pub(super) algorithm: String,
    /// `None`: the current policy refuses the key.
    pub(super) bits: Option<i64>,
}

impl KeyFacts {
    pub(super) fn of(key: &ValidKey) -> Self {
        Self { algorithm: key.algorithm().to_string(), bits: Some(key.bits().into()) }
    }
}

/// The type in the text of a key.
pub(super) fn named_algorithm(text: &str) -> &str {
    text.split_ascii_whitespace().next().unwrap_or_default()
}

impl Store {
    /// Fills in the facts of some keys without them, and returns the number of keys. At 0 none is left.
    pub(crate) async fn fill_key_facts(&self, policy: &Policy) -> Result<u64, StoreError> {
        let missing = sql("SELECT number, text FROM keys WHERE algorithm IS NULL ORDER BY number LIMIT $1");
        let rows: Vec<(i64, String)> = missing
            .bind(KEYS_PER_BATCH)
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("find keys without facts"))?;
        if rows.is_empty() {
            return Ok(0);
        }
        let keys = ValidKey::check_all(rows.iter().map(|(_, text)| text.as_str()), policy);
        let mut transaction = self.begin_write().await?;
        for ((number, text), key) in rows.iter().zip(keys) {
            let facts = key.as_ref().map_or_else(
                |_| KeyFacts { algorithm: named_algorithm(text).to_owned(), bits: None },
                KeyFacts::of,
            );
            // If this key was removed, its number may be another key's, which has its facts.
            sql("UPDATE keys SET algorithm = $1, bits = $2 WHERE number = $3 AND algorithm IS NULL")
                .bind(facts.algorithm)
                .bind(facts.bits)
                .bind(*number)
                .execute(&mut transaction)
                .await
                .map_err(StoreError::of("fill in a key's facts"))?;
        }
        // This is no change for hosts.
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        Ok(rows.len() as u64)
    }
}
