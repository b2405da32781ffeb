//! Why changes are not applied.

use pushkeys_cache::WriteError;
use thiserror::Error;

/// Why the applier of a source takes no more work.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    #[error("the cache cannot be written")]
    Write(#[from] WriteError),
    #[error("the writer of the cache has stopped")]
    Stopped,
}
