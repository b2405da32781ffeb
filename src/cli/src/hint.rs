//! What to do about errors of the cache's reader and writer.

use std::io::ErrorKind;

use pushkeys_cache::{Damage, REVOKED_FILE, ReadError, WriteError};

/// What to do about `error`, if there is something that is not in its text.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref() {
            return Some(of_read(error));
        }
        if let Some(WriteError::Io { source, .. }) = cause.downcast_ref() {
            return (source.kind() == ErrorKind::PermissionDenied).then_some("run it with sudo");
        }
        None
    })
}

const AS_ROOT: &str = "run it with sudo, or as a member of the group `pushkeys`";

/// What to do about a damaged file. A source of which a file is missing at syncd's start is synced again as a whole.
pub(crate) const HEAL: &str =
    "while its source answers: rm the damaged file, and systemctl restart pushkeys-syncd";

/// What to do about `error` of the reader.
pub(crate) fn of_read(error: &ReadError) -> &'static str {
    match error {
        ReadError::Missing(_) => "systemctl status pushkeys-syncd, or say with --cache where the cache is",
        ReadError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => AS_ROOT,
        ReadError::Io { .. } => "dmesg, for the disk's own errors",
        ReadError::Unsafe(_) => "ls -ld it, then chown and chmod it as its neighbours are",
        ReadError::Damaged { source: Damage::Format, .. } => {
            "install the same version of pushkeys everywhere"
        }
        ReadError::Damaged { path, .. } if path.file_name().is_some_and(|name| name == REVOKED_FILE) => {
            "every key is refused meanwhile: rm it, and run pushkeys revoke again for what was in it"
        }
        ReadError::Damaged { .. } => HEAL,
        ReadError::Raced(_) => "run it again",
    }
}
