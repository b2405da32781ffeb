//! `ssh-keygen`, which reads keys with the same code as sshd.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// The bits, fingerprint and type that `ssh-keygen -l` prints for the key in `line`; `None` if it refuses the key.
pub(crate) fn list(line: &str, hash: &str) -> Option<(u32, String, String)> {
    let mut child = Command::new("ssh-keygen")
        .args(["-l", "-E", hash, "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("`ssh-keygen` is part of the package openssh-client");
    // The oracle may exit before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(line.as_bytes());
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let (bits, fingerprint) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let kind = words.last()?.trim_matches(['(', ')']).to_owned();
    Some((bits, fingerprint, kind))
}

/// Whether the installed OpenSSH supports the type of the key in `line`. The newest type needs OpenSSH 10.6.
pub(crate) fn knows_type(line: &str) -> bool {
    let known = Command::new("ssh")
        .args(["-Q", "key"])
        .output()
        .expect("`ssh` is part of the package openssh-client");
    let name = line.split_whitespace().next().unwrap();
    String::from_utf8_lossy(&known.stdout).lines().any(|known| known == name)
}

/// Makes a key pair with `arguments` and returns the text of its `.pub` file, or `None` if this
/// `ssh-keygen` does not support such keys.
pub(crate) fn generate(arguments: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let status = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "ana@laptop"])
        .args(arguments)
        .arg("-f")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("`ssh-keygen` is part of the package openssh-client");
    status.success().then(|| std::fs::read_to_string(file.with_extension("pub")).unwrap())
}
