//! sshd's host keys, compared with those that the daemon reports and that the key service publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pushkeys_cache::status::HostKeysStatus;
use pushkeys_keys::{Policy, ValidKey, shell_word};

use super::finding::Finding;
use crate::sshd::Effective;

const CHECK: &str = "host-keys";

/// Compares sshd's settings with the reports to the key services of `services`, by source. `config` is the daemon's configuration.
pub(super) fn check(
    effective: &Effective,
    services: &[(&str, &HostKeysStatus)],
    config: &Path,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        services.iter().flat_map(|(source, status)| unpublished(source, status)).collect();
    let reported: BTreeSet<&str> =
        services.iter().flat_map(|(_, status)| &status.shown).map(String::as_str).collect();
    // Without a report there is nothing to compare with.
    if reported.is_empty() {
        return findings;
    }
    let shown = shown_by_sshd(effective);
    let difference = shown
        .iter()
        .find(|(fingerprint, _)| !reported.contains(fingerprint.as_str()))
        .map(|(fingerprint, file)| {
            format!(
                "sshd uses the host key `{}` ({fingerprint}), which is not reported to the key service",
                file.display()
            )
        })
        .or_else(|| {
            let unshown = reported.iter().find(|fingerprint| !shown.contains_key(**fingerprint))?;
            Some(format!("the host key {unshown} is reported to the key service, and sshd does not use it"))
        });
    findings.extend(difference.map(|what| {
        let why =
            "clients that know the published host keys refuse this host, or trust a key that it does not use";
        Finding::warning(CHECK, pushkeys_keys::escape(&what), why).cured_by(setting(&shown, config))
    }));
    findings
}

fn unpublished<'a>(source: &'a str, status: &'a HostKeysStatus) -> impl Iterator<Item = Finding> + 'a {
    status.waiting.iter().map(move |fingerprint| {
        let of = status.push_host.as_deref().unwrap_or_default();
        let what = format!("source `{source}`: this host's key {fingerprint} is not published for `{of}`");
        let why = "the operator of the service has not accepted it; clients that know the published keys refuse this host. If its \
                   keys were not changed, another machine reports with its token";
        let cure = format!("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; at the service: pushkeys-server host keys accept {fingerprint}");
        Finding::warning(CHECK, pushkeys_keys::escape(&what), why).cured_by(cure)
    })
}

/// The public halves of sshd's keys by their fingerprints, without types that no service publishes.
fn shown_by_sshd(effective: &Effective) -> BTreeMap<String, PathBuf> {
    let public_half = |file: &str| {
        let file = Path::new(file);
        let is_public = file.extension().is_some_and(|extension| extension == "pub");
        if is_public { file.to_owned() } else { format!("{}.pub", file.display()).into() }
    };
    effective
        .values("HostKey")
        .map(public_half)
        .filter_map(|file| {
            let key = ValidKey::check(&fs::read_to_string(&file).ok()?, &Policy::default()).ok()?;
            Some((key.fingerprint().to_string(), file))
        })
        .collect()
}

/// The command that has the daemon report the keys that sshd uses.
fn setting(shown: &BTreeMap<String, PathBuf>, config: &Path) -> String {
    let files: Vec<String> = shown.values().map(|file| format!("\"{}\"", file.display())).collect();
    let line = format!("host_keys = [{}]", files.join(", "));
    let text = fs::read_to_string(config).unwrap_or_default();
    let is_set = text.lines().any(|line| line.starts_with("host_keys"));
    let script = if is_set { format!("s|^host_keys.*|{line}|") } else { format!("1i {line}") };
    format!("sed -i {} {}", shell_word(&script), shell_word(&config.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";
    const OTHER: &str = "SHA256:AAAAOQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    /// Checks what is found if sshd uses one key, `shown` were reported, and `waiting` are not published.
    #[track_caller]
    fn check_found(shown: &[&str], waiting: &[&str], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let (key, config) = (folder.path().join("key"), folder.path().join("syncd.toml"));
        fs::write(folder.path().join("key.pub"), KEY).unwrap();
        fs::write(&config, "cache = \"/c\"\n").unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let status = HostKeysStatus {
            push_host: Some("push.example.com".into()),
            shown: texts(shown),
            waiting: texts(waiting),
        };
        let effective = Effective::parse(&format!("hostkey {}\nhostkey /nonexistent\n", key.display()));
        let found = check(&effective, &[("api", &status)], &config);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.what.contains(expected), "{expected}: {}", finding.what);
        }
        let cures =
            found.iter().filter_map(|finding| finding.cure.as_deref()).filter(|cure| cure.starts_with("sed"));
        for cure in cures {
            let expected =
                format!("sed -i '1i host_keys = [\"{}.pub\"]' {}", key.display(), config.display());
            assert_eq!(cure, expected);
        }
    }

    #[test]
    fn keys_that_are_not_reported_or_not_published_are_found() {
        check_found(&[], &[], &[]);
        check_found(&[FINGERPRINT], &[], &[]);
        check_found(&[FINGERPRINT], &[FINGERPRINT], &["is not published for `push.example.com`"]);
        check_found(&[OTHER], &[], &["which is not reported to the key service"]);
        check_found(&[FINGERPRINT, OTHER], &[], &[OTHER]);
    }
}
