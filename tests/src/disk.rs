//! Small file systems that a test can fill.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::process::run;

const BLOCK_BYTES: usize = 4096;
/// The file that fills the disk. No source's name begins with a dot.
const BALLAST: &str = ".ballast";

static MOUNTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A tmpfs of a given size, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
    mib: usize,
}

impl SmallDisk {
    /// Mounts an empty tmpfs of `mib` MiB at `at`, owned by `owner` (`USER:GROUP`).
    #[track_caller]
    #[must_use]
    pub fn mount(at: &Path, mib: usize, owner: &str) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0750"), "tmpfs"]).arg(at);
        let mounted = run(&mut mount);
        assert!(
            mounted.status.success(),
            "this test mounts a tmpfs, which takes CAP_SYS_ADMIN: {}",
            mounted.stderr
        );
        MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).push(at.to_owned());
        let _ = run(Command::new("chown").arg(owner).arg(at)).output();
        Self { at: at.to_owned(), mib }
    }

    /// Fills the remaining space.
    pub fn fill(&self) {
        let mut file =
            File::options().append(true).create(true).open(self.at.join(BALLAST)).expect("root may");
        let blocks_max = self.mib * 1024 * 1024 / BLOCK_BYTES;
        let is_full = (0..=blocks_max).any(|_| file.write_all(&[0; BLOCK_BYTES]).is_err());
        assert!(is_full, "a disk of {} MiB is full by now", self.mib);
    }

    /// Frees the space that [`SmallDisk::fill`] took.
    pub fn make_room(&self) {
        let _ = fs::remove_file(self.at.join(BALLAST));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.at);
        MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.at);
    }
}

/// Unmounts all small disks of this process, which is about to exit without dropping them.
pub(crate) fn unmount_all() {
    for path in MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        unmount(&path);
    }
}

fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(at).status();
}
