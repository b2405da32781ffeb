//! Temporary folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// The parent of rooms with root's programs: sshd runs the helper only if root owns it and every folder above it, and
/// only root may write there, which is not true for a clone below a home or `/tmp`.
const ROOT_OWNED: &str = "/usr/local/lib";

/// The prefix of a room's name, before the process id and a number.
const PREFIX: &str = "pushkeys-test-";

static SWEPT: Once = Once::new();
static ROOMS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A temporary folder that all users may enter and only root may write to, removed with its contents when dropped.
#[derive(Debug)]
pub struct Room(PathBuf);

impl Room {
    /// A room in the folder for temporary files.
    #[must_use]
    pub fn temporary() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A room whose parents belong to root.
    #[must_use]
    pub fn root_owned() -> Self {
        Self::within(Path::new(ROOT_OWNED))
    }

    fn within(parent: &Path) -> Self {
        SWEPT.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make `{}`: {error}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("own directory");
        ROOMS.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Self(path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in the room.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only root can read.
    #[must_use]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.write_with_mode(name, text, 0o600)
    }

    /// Writes a file with the permission bits `mode`.
    #[must_use]
    pub fn write_with_mode(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own file");
        path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        ROOMS.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

/// Removes the rooms of killed processes.
fn sweep() {
    for parent in [&std::env::temp_dir(), Path::new(ROOT_OWNED)] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Removes all rooms of this process, which is about to exit without dropping them.
pub(crate) fn remove_all() {
    for path in ROOMS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_dir_all(path);
    }
}
