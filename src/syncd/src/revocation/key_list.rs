//! The list of revoked keys for sshd's `RevokedKeys`.

use std::collections::BTreeSet;
use std::path::Path;

use pushkeys_files::{Attributes, WriteFileError};
use pushkeys_keys::Fingerprint;

/// sshd reads the file as root; its folder decides who else may.
const FILE_MODE: u32 = 0o644;

/// Replaces the file at `path` by the list of `keys`. sshd refuses every key while it cannot read the file, so it is never
/// half there.
pub(super) fn replace(path: &Path, keys: &BTreeSet<Fingerprint>) -> Result<(), WriteFileError> {
    pushkeys_files::replace(path, &revocation_list(keys), Attributes::mode(FILE_MODE))
}

/// An OpenSSH key revocation list of `keys` by their SHA-256 (PROTOCOL.krl, version 1), the same for the same keys.
///
/// It lists fingerprints, because a key can be revoked of which no source has the text.
fn revocation_list(keys: &BTreeSet<Fingerprint>) -> Vec<u8> {
    const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
    const VERSION: u32 = 1;
    const FINGERPRINT_SHA256: u8 = 5;
    let mut list = MAGIC.to_vec();
    list.extend(VERSION.to_be_bytes());
    // The list's own number, its date and its flags.
    list.extend([0; 3 * size_of::<u64>()]);
    append(&mut list, b"");
    append(&mut list, b"pushkeys");
    if !keys.is_empty() {
        let mut section = Vec::new();
        for key in keys {
            append(&mut section, key.as_bytes());
        }
        list.push(FINGERPRINT_SHA256);
        append(&mut list, &section);
    }
    list
}

/// Appends `bytes` with their length before them (RFC 4251 section 5, `string`).
fn append(list: &mut Vec<u8>, bytes: &[u8]) {
    // An account has at most the keys of a host, whose fingerprints take less than 4 GiB.
    list.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    list.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// Whether ssh-keygen finds `key` in the list of `keys`.
    fn is_revoked(folder: &Path, keys: &BTreeSet<Fingerprint>, key: &str) -> bool {
        replace(&folder.join("list"), keys).unwrap();
        fs::write(folder.join("key.pub"), key).unwrap();
        let output = Command::new("ssh-keygen")
            .arg("-Qf")
            .arg(folder.join("list"))
            .arg(folder.join("key.pub"))
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains("REVOKED") || printed.contains("ok"), "{output:?}");
        printed.contains("REVOKED")
    }

    #[test]
    fn openssh_reads_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let ana = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1eqRm75Cn6V7qPQDeMAkRqexxT/MhuRsCwnzJoA66k";
        let ben = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID17RZdCZryGPnnbvX9+dJEtTPPb8vhANizEKaLnNBhN";
        let fingerprint = |key| {
            pushkeys_keys::ValidKey::check(key, &pushkeys_keys::Policy::default()).unwrap().fingerprint()
        };
        let mut revoked: BTreeSet<Fingerprint> =
            (0..100_u32).map(|number| Fingerprint::of(&number.to_be_bytes())).collect();
        revoked.insert(fingerprint(ana));
        assert!(is_revoked(folder.path(), &revoked, ana));
        assert!(!is_revoked(folder.path(), &revoked, ben));
        assert!(!is_revoked(folder.path(), &BTreeSet::new(), ana));
    }
}
