//! Why the store did not do what it was asked.

use std::sync::atomic::{AtomicU64, Ordering};

use pushkeys_keys::Hint;
use thiserror::Error;

use crate::secret::NewIdError;

/// The database did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// A statement failed.
    #[error("cannot {operation} in the database")]
    Query { operation: &'static str, source: sqlx::Error },
    /// A row that this version would not have written.
    #[error("the database holds {what} that cannot be read")]
    Malformed {
        what: &'static str,
        #[source]
        hint: Hint,
    },
    /// No new identifier.
    #[error(transparent)]
    NewId(#[from] NewIdError),
}

/// Statements that failed since this process began.
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How many statements failed since this process began.
pub(crate) fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

impl StoreError {
    /// For `map_err`: the failure of `operation`, a verb and its object.
    pub(super) fn of(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| {
            ERRORS.fetch_add(1, Ordering::Relaxed);
            Self::Query { operation, source }
        }
    }

    pub(super) fn malformed(what: &'static str) -> Self {
        Self::Malformed { what, hint: Hint::new("pushkeys-server check") }
    }
}

/// Whether `error` is a unique index that refused a row.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
