//! Checks the disk space of repositories and accounts against their limits.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use thiserror::Error;

use crate::identity::Identity;
use crate::settings::{Locate, Settings};

/// The size of a file is rounded up to blocks, and is at least one, so that the limits bound the number of files, too.
const BLOCK_BYTES: u64 = 4096;
/// Repositories are not nested deeper; deeper folders are not counted.
const DEPTH_MAX: usize = 128;

/// The limit that would be exceeded.
#[derive(Debug, Error)]
pub(crate) enum NoRoom {
    #[error(
        "the repository would take more than the {max_mib} MiB that one repository may take on this host"
    )]
    Repository { max_mib: u64 },
    #[error(
        "all repositories of {account} would take more than the {max_mib} MiB that one account may take on this host"
    )]
    Account { account: String, max_mib: u64 },
}

/// Checks the repository in the current folder, and all repositories of the account of `identity`, against the limits.
pub(crate) fn check(settings: &Settings, identity: &Identity) -> Result<(), NoRoom> {
    if let Some(max) = settings.limits.repository_bytes
        && exceeds(Path::new("."), max)
    {
        return Err(NoRoom::Repository { max_mib: max >> 20 });
    }
    let folder = match &settings.locate {
        Locate::Template(template) => template.account_folder(&identity.account),
        // Only the operator's program knows which repositories an account has.
        Locate::Program { .. } => None,
    };
    match (folder, settings.limits.account_bytes) {
        (Some(folder), Some(max)) if exceeds(&settings.root.join(&folder), max) => {
            Err(NoRoom::Account { account: identity.account().to_owned(), max_mib: max >> 20 })
        }
        _ => Ok(()),
    }
}

/// Whether the files below `folder` take more than `limit` bytes. Symbolic links are not followed, and files that
/// vanish meanwhile are not counted.
fn exceeds(folder: &Path, limit: u64) -> bool {
    let mut bytes: u64 = 0;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.size().div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES);
            if bytes > limit {
                return true;
            }
            if metadata.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_and_folder_counts_in_blocks() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!exceeds(folder.path(), 0));
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/empty"), "").unwrap();
        fs::write(folder.path().join("a/large"), vec![0; 4097]).unwrap();
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        // The sizes of folders depend on the file system.
        let folders: u64 = ["a", "a/b"]
            .map(|name| fs::metadata(folder.path().join(name)).unwrap().size())
            .iter()
            .map(|size| size.div_ceil(4096).max(1) * 4096)
            .sum();
        let bytes = folders + 4096 + 2 * 4096 + 4096;
        assert!(!exceeds(folder.path(), bytes));
        assert!(exceeds(folder.path(), bytes - 1));
    }
}
