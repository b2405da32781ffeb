//! The limits that pools of both databases have.

use std::time::Duration;

/// Connections that read: requests, the feed's hub, and snapshots.
pub(crate) const READ_CONNECTIONS: u32 = 12;
/// How long a request waits for a connection before it fails.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
