//! The store on real databases, without a service around it.

mod changes;
mod evidence;
mod faults;
mod history;
mod host_keys;
mod key_facts;
mod linked;

use std::time::Duration;

use pushkeys_tests::PostgresDatabase;
use tempfile::TempDir;

use super::{Store, StoreLimits};
use crate::database::Open;

/// Any key.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
const LIMITS: StoreLimits = StoreLimits {
    changes_max: 1_000,
    keys_per_account_max: 100,
    audit_age_max: Duration::from_hours(24),
    sends_mail: false,
};

/// An empty database.
enum TestDatabase {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl TestDatabase {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(PostgresDatabase::shared())
    }

    /// Opens a store on it; to the database, each is a process of its own.
    async fn open(&self, limits: StoreLimits) -> Store {
        let url = match self {
            Self::Sqlite(directory) => format!("sqlite://{}/keys.db", directory.path().display()),
            Self::Postgres(database) => database.url(),
        };
        Store::open(&url.parse().unwrap(), Open::Prepare, limits).await.unwrap()
    }
}

/// Runs each of these functions with an empty database of both kinds.
macro_rules! on_both_databases {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::TestDatabase::sqlite()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::TestDatabase::postgres()).await;
            })*
        }
    };
}
use on_both_databases;
