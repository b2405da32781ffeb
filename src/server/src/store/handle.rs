//! The store: a database, its limits, and the state that this process has of it.

use std::time::Duration;

use tokio::sync::watch;

use super::acknowledgements::Acknowledgements;
use super::error::StoreError;
use super::process_state::{HostView, LastHealth, LastSeen};
use crate::database::{Database, Transaction};

/// The configured limits of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreLimits {
    /// The most changes that are kept for hosts to resume from.
    pub(crate) changes_max: u64,
    /// The most keys that an account may register itself.
    pub(crate) keys_per_account_max: u64,
    /// How long rows of the audit log are kept.
    pub(crate) audit_age_max: Duration,
    /// Whether mails are sent about changes.
    pub(crate) sends_mail: bool,
}

/// The database of accounts, keys, hosts and changes.
#[derive(Clone)]
pub(crate) struct Store {
    pub(super) database: Database,
    pub(super) limits: StoreLimits,
    pub(super) committed: watch::Sender<()>,
    pub(super) acknowledgements: Acknowledgements,
    pub(super) health: LastHealth,
    pub(super) host_view: HostView,
    pub(super) last_seen: LastSeen,
}

impl Store {
    pub(super) fn new(database: Database, limits: StoreLimits) -> Self {
        Self {
            database,
            limits,
            committed: watch::Sender::new(()),
            acknowledgements: Acknowledgements::default(),
            health: LastHealth::default(),
            host_view: HostView::default(),
            last_seen: LastSeen::default(),
        }
    }

    /// The database beneath.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Ends all connections, and merges SQLite's write-ahead log if no other process has the database open.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }

    /// A transaction that holds the writer lock from its beginning, so that what it reads cannot change.
    pub(super) async fn begin_write(&self) -> Result<Transaction, StoreError> {
        self.database.begin_write().await.map_err(StoreError::of("begin a transaction"))
    }

    pub(super) async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        // There may be no receiver.
        self.committed.send_replace(());
        Ok(())
    }
}
