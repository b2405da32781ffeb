//! What this program knows to do about errors of the crates that it uses, which do not know its commands.

use std::error::Error;
use std::io::ErrorKind;
use std::iter::successors;

use pushkeys_cache::{Damage, REVOKED_FILE, ReadError, WriteError};
use pushkeys_keys::ErrorReport;

/// What to do about a damaged file. A source of which a file is missing at syncd's start is synced again as a whole.
pub(crate) const HEAL: &str =
    "while its source answers: rm the damaged file, and systemctl restart pushkeys-syncd";

const AS_ROOT: &str = "run it with sudo, or as a member of the group `pushkeys`";

/// What is to be told of `error`, with what to do about it also where its text does not say so.
pub(crate) fn report(error: &(dyn Error + 'static)) -> ErrorReport {
    let mut report = ErrorReport::of(error);
    if report.hint.is_none() {
        let mut chain = successors(Some(error), |&error| error.source());
        report.hint = chain.find_map(hint_for).map(str::to_owned);
    }
    report
}

fn hint_for(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref() {
        return hint_for_reader(error);
    }
    match error.downcast_ref()? {
        WriteError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Some("run it with sudo")
        }
        _ => None,
    }
}

fn hint_for_reader(error: &ReadError) -> Option<&'static str> {
    let hint = match error {
        ReadError::Missing(_) => "systemctl status pushkeys-syncd, or say with --cache where the cache is",
        ReadError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => AS_ROOT,
        ReadError::Io { .. } => "dmesg, for the disk's own errors",
        // It brings its own.
        ReadError::Unsafe(_) => return None,
        ReadError::Damaged { source: Damage::Format, .. } => {
            "install the same version of pushkeys everywhere"
        }
        ReadError::Damaged { path, .. } if path.file_name().is_some_and(|name| name == REVOKED_FILE) => {
            "every key is refused meanwhile: rm it, and run pushkeys revoke again for what was in it"
        }
        ReadError::Damaged { .. } => HEAL,
        ReadError::Raced(_) => "run it again",
    };
    Some(hint)
}
