//! How much room a folder takes on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file takes at least, and in multiples of what: so bytes bound the number of files too.
const BLOCK_BYTES: u64 = 4096;
/// Repositories are not nested deeper; a folder that is holds something else.
const DEPTH_MAX: usize = 128;

/// Whether the files below `folder` take more than `limit` bytes. Links are not followed, and what vanishes meanwhile
/// does not count.
pub(crate) fn exceeds(folder: &Path, limit: u64) -> bool {
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
