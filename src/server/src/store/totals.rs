//! How much there is, for graphs.

use super::columns::from_sql;
use super::error::StoreError;
use super::handle::Store;
use crate::database::sql;

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Keys that are registered.
    pub(crate) keys: u64,
    /// Accounts.
    pub(crate) accounts: u64,
    /// Hosts that are registered.
    pub(crate) hosts: u64,
    /// Mails that no server took yet.
    pub(crate) mails: u64,
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
        .map_err(StoreError::of("count what there is"))?;
        let (keys, accounts) = (from_sql(keys)?, from_sql(accounts)?);
        Ok(Totals { keys, accounts, hosts: from_sql(hosts)?, mails: from_sql(mails)? })
    }
}
