//! The host keys of this host's sshd, read from the files of their public halves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pushkeys_feed::HOST_KEYS_MAX;
use pushkeys_files::Trust;
use pushkeys_keys::{ErrorReport, Fingerprint, KEY_TEXT_BYTES_MAX, Policy, ValidKey};

/// Folder and names of the public halves of sshd's keys, unless `host_keys` is configured.
const FOLDER: &str = "/etc/ssh";
const NAME_BEGIN: &str = "ssh_host_";
const NAME_END: &str = "_key.pub";

/// The keys, by their fingerprints.
pub(crate) type HostKeys = BTreeMap<Fingerprint, String>;

/// The files that are read.
#[derive(Debug, Default)]
pub(crate) struct HostKeyFiles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// As configured; `None` stands for the files in sshd's folder.
    files: Option<Vec<PathBuf>>,
    /// The number of times that they were to be read at once.
    asked: u64,
    /// Problems of the last reading, so that each is logged once.
    logged: Vec<String>,
}

impl HostKeyFiles {
    /// Has `files` read from now on, or those in sshd's folder.
    pub(crate) fn set(&self, files: Option<Vec<PathBuf>>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { files, asked: state.asked + 1, logged: Vec::new() };
    }

    /// Has the files read at once.
    pub(crate) fn ask(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked += 1;
    }

    /// The number of times that the files were to be read at once.
    pub(crate) fn asked(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    /// The keys in the files. Files that cannot be used are logged and left out.
    pub(crate) fn read(&self) -> HostKeys {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = state.files.clone().unwrap_or_else(|| default_files(Path::new(FOLDER)));
        let (mut keys, mut problems) = (HostKeys::new(), Vec::new());
        for file in files.iter().take(HOST_KEYS_MAX) {
            match read(file) {
                Ok(key) => drop(keys.insert(key.fingerprint(), key.canonical_text().to_owned())),
                Err(problem) => problems.push(problem),
            }
        }
        for problem in problems.iter().filter(|problem| !state.logged.contains(problem)) {
            tracing::warn!("a host key is not reported: {problem}");
        }
        state.logged = problems;
        keys
    }
}

fn default_files(folder: &Path) -> Vec<PathBuf> {
    let is_host_key = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(NAME_BEGIN) && name.ends_with(NAME_END))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_host_key).collect();
    files.sort_unstable();
    files
}

fn read(file: &Path) -> Result<ValidKey, String> {
    let text = pushkeys_files::read_text(file, Trust::ROOT, KEY_TEXT_BYTES_MAX)
        .map_err(|error| ErrorReport::of(&error).to_string())?;
    let refused = |why: String| format!("`{}`: {why}", file.display());
    let key = ValidKey::check(&text, &Policy::default())
        .map_err(|refusal| refused(ErrorReport::of(&refusal).to_string()))?;
    if key.algorithm().name().starts_with("sk-") {
        return Err(refused("no sshd has a key of a security key".to_owned()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

    /// A folder with `files`, owned by the user of this test.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn public_halves_of_host_keys_are_found_by_their_names() {
        let names = [
            "ssh_host_rsa_key",
            "ssh_host_rsa_key.pub",
            "ssh_host_ed25519_key.pub",
            "moduli",
            "ssh_host_x_key.pub.old",
        ];
        let folder = folder(&names.map(|name| (name, "")));
        let found = default_files(folder.path());
        assert_eq!(
            found,
            ["ssh_host_ed25519_key.pub", "ssh_host_rsa_key.pub"].map(|name| folder.path().join(name))
        );
        assert_eq!(default_files(Path::new("/nonexistent")), [] as [&Path; 0]);
    }

    #[test]
    fn a_file_that_cannot_be_used_leaves_the_others() {
        // Files have to be root's.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = folder(&[
            ("good", &format!("{KEY} root@push-1\n")),
            ("private", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            ("open", KEY),
            ("garbage", "ssh-ed25519 AAAA\n"),
        ]);
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o666)).unwrap();
        let files = HostKeyFiles::default();
        files.set(Some(["private", "open", "garbage", "missing", "good"].map(path).to_vec()));
        let keys = files.read();
        assert_eq!(keys.values().collect::<Vec<_>>(), [KEY]);
        assert_eq!(files.0.lock().unwrap().logged.len(), 4);
        files.set(Some(vec![path("open")]));
        assert!(files.read().is_empty());
    }
}
