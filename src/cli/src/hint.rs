//! What to do about an error.

use std::io::ErrorKind;

use pushkeys_cache::{Damage, REVOKED_FILE, ReadError, WriteError};

use crate::commands::accept::NotATerminal;
use crate::key::KeyArgumentError;

/// What to do about `error`, if there is something that is not in its text.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref() {
            return Some(of_read(error));
        }
        if let Some(WriteError::Io { source, .. }) = cause.downcast_ref() {
            return (source.kind() == ErrorKind::PermissionDenied).then_some("run it with sudo");
        }
        match cause.downcast_ref() {
            Some(KeyArgumentError::Fingerprint(_) | KeyArgumentError::Read { .. }) => {
                return Some(
                    "ssh-keygen -lf KEY.pub prints the fingerprint; a .pub file or the text of a key will do",
                );
            }
            // A refusal brings its own.
            Some(KeyArgumentError::Refused(_)) => return None,
            None => {}
        }
        cause.is::<NotATerminal>().then_some("pushkeys accept SOURCE --yes")
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
