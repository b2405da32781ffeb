//! Limits the concurrent sessions of an account.
//!
//! Each session locks one of the account's files. The kernel releases the lock when the session's process ends, however
//! it ends.

use std::os::fd::OwnedFd;
use std::path::Path;

use pushkeys_keys::AccountId;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};

use crate::repository::{RepositoryError, Root};

const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// One of the concurrent sessions of an account, until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionSlot(#[expect(dead_code, reason = "holds the lock")] OwnedFd);

/// Takes one of the `count` slots of `account`, if one is free.
pub(crate) fn take(
    root: &Root,
    account: &AccountId,
    count: u32,
) -> Result<Option<SessionSlot>, RepositoryError> {
    let folder = root.own_folder(&Path::new("sessions").join(account.as_str()))?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // Sessions that begin at the same time start their search at different slots.
    let first = std::process::id() % count.max(1);
    for number in (0..count).map(|offset| (first + offset) % count) {
        let file = openat(&folder, number.to_string().as_str(), flags, FILE_MODE)
            .map_err(|error| root.failed("open the session slots in", Path::new("."), error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Some(SessionSlot(file)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_limited_number_of_slots_and_gets_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let (ana, ben) = ("acct_7".parse().unwrap(), "acct_8".parse().unwrap());
        let take = |account| take(&root, account, 2).unwrap();
        let (first, second) = (take(&ana), take(&ana));
        assert!(first.is_some() && second.is_some());
        assert!(take(&ana).is_none());
        assert!(take(&ben).is_some(), "another account has its own slots");
        drop(first);
        assert!(take(&ana).is_some());
    }
}
