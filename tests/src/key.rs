//! A user's key pair.

use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_keys::Fingerprint;

use crate::{Room, run};

/// A key pair from ssh-keygen, in its own folder.
#[derive(Debug)]
pub struct Key {
    path: PathBuf,
    text: String,
    fingerprint: Fingerprint,
    _room: Room,
}

impl Key {
    /// A new Ed25519 key.
    #[must_use]
    pub fn ed25519() -> Self {
        Self::generate(&["-t", "ed25519", "-C", "me@laptop"])
    }

    /// A new key without a passphrase, from ssh-keygen with `arguments`.
    #[must_use]
    pub fn generate(arguments: &[&str]) -> Self {
        let room = Room::temporary();
        let path = room.join("key");
        let _ =
            run(Command::new("ssh-keygen").args(["-q", "-N", "", "-f"]).arg(&path).args(arguments)).output();
        let text =
            std::fs::read_to_string(path.with_extension("pub")).expect("ssh-keygen wrote the public key");
        let shown = run(Command::new("ssh-keygen").arg("-lf").arg(&path)).output();
        let fingerprint = shown.split(' ').nth(1).expect("bits, fingerprint, comment, type");
        let fingerprint = fingerprint.parse().expect("a SHA-256 fingerprint");
        Self { path, text: text.trim_end().to_owned(), fingerprint, _room: room }
    }

    /// The file of the private key.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key as in the `.pub` file, without the newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The public key's `type base64`, without the comment.
    #[must_use]
    pub fn bare_text(&self) -> String {
        self.text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// The fingerprint, as ssh-keygen prints it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}
