//! Totals for metrics.

use super::columns::from_sql;
use super::error::StoreError;
use super::handle::Store;
use crate::database::sql;

/// The number of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) keys: u64,
    pub(crate) accounts: u64,
    pub(crate) hosts: u64,
    /// Queued mails.
    pub(crate) mails: u64,
    /// Host keys that wait for the operator.
    pub(crate) host_keys_waiting: u64,
}

impl Store {
    /// Counts everything, which reads every row.
    pub(crate) async fn totals(&self) -> Result<Totals, StoreError> {
        let (keys, accounts, hosts, mails): (i64, i64, i64, i64) = sql(
            "SELECT (SELECT COUNT(*) FROM keys), (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM hosts),
             (SELECT COUNT(*) FROM mails)",
        )
        .fetch_one(&self.database)
        .await
        .map_err(StoreError::of("count rows"))?;
        let (keys, accounts) = (from_sql(keys)?, from_sql(accounts)?);
        let host_keys_waiting = self.host_keys_waiting().await?;
        Ok(Totals { keys, accounts, hosts: from_sql(hosts)?, mails: from_sql(mails)?, host_keys_waiting })
    }
}
