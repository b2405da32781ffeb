//! Published faults of sshd that concern a push host, by version and by what is in force on this one.
//!
//! Versions are those of OpenSSH's release notes (<https://www.openssh.com/releasenotes.html>); updates of Debian are those of the
//! changelogs of its packages openssh 1:9.2p1-2+deb12u10, 1:10.0p1-7+deb13u4 and 1:10.6p1-1, which name them. Left out is what
//! does not concern sshd or a login that runs one forced command: of ssh(1), scp(1), sftp(1) and ssh-agent(1) CVE-2023-38408,
//! CVE-2023-51384, CVE-2023-51385, CVE-2024-39894, CVE-2025-26465, CVE-2025-61984, CVE-2025-61985, CVE-2026-35385,
//! CVE-2026-35386, CVE-2026-35388, CVE-2026-59995, CVE-2026-59996, CVE-2026-60002, CVE-2026-73281 and CVE-2026-73282; of
//! certificates in `authorized_keys` CVE-2026-35414; of internal-sftp CVE-2026-59997; of Active Directory CVE-2026-59998.
//! CVE-2026-59999 and CVE-2026-73283 need `PermitTunnel`, which is a finding of its own in any release.

use super::finding::{Finding, Severity};
use crate::sshd::{Effective, Package, Version};

/// A published fault.
struct Advisory {
    id: &'static str,
    /// The first release that has it, and the first that has not.
    since: Version,
    fixed: Version,
    /// Releases of Debian, and the number of the update in which each has fixed it.
    debian: &'static [(u32, u32)],
    severity: Severity,
    /// What it lets whom do.
    what: &'static str,
    /// Whether the settings in force leave it open.
    is_open: fn(&Effective) -> bool,
}

const ADVISORIES: &[Advisory] = &[
    Advisory {
        id: "CVE-2023-25136",
        since: Version(9, 1, 1),
        fixed: Version(9, 2, 1),
        debian: &[],
        severity: Severity::Warning,
        what: "an unauthenticated client can make sshd free memory twice",
        is_open: |_| true,
    },
    Advisory {
        id: "CVE-2023-48795",
        since: Version(0, 0, 0),
        fixed: Version(9, 6, 1),
        debian: &[(12, 2)],
        severity: Severity::Warning,
        what: "an attacker on the network's path can drop the first messages of a connection (Terrapin)",
        is_open: |_| true,
    },
    Advisory {
        id: "CVE-2024-6387",
        since: Version(8, 5, 1),
        fixed: Version(9, 8, 1),
        // Its changelog names the function, and not the number.
        debian: &[(12, 3)],
        severity: Severity::Error,
        what: "an unauthenticated client can win a race that runs code as root (regreSSHion)",
        is_open: |effective| effective.value("LoginGraceTime") != Some("0"),
    },
    Advisory {
        id: "CVE-2025-26466",
        since: Version(9, 5, 1),
        fixed: Version(9, 9, 2),
        debian: &[],
        severity: Severity::Warning,
        what: "an unauthenticated client can use up sshd's memory and processor time before logging in",
        is_open: |_| true,
    },
    Advisory {
        id: "CVE-2025-32728",
        since: Version(7, 4, 1),
        fixed: Version(10, 0, 1),
        debian: &[(12, 6)],
        severity: Severity::Warning,
        what: "`DisableForwarding yes` leaves X11 and agents open to be forwarded",
        is_open: |effective| {
            ["AllowAgentForwarding", "X11Forwarding"]
                .into_iter()
                .any(|keyword| effective.is(keyword, "yes") == Some(true))
        },
    },
    Advisory {
        id: "CVE-2026-3497",
        since: Version(0, 0, 0),
        fixed: Version(10, 3, 1),
        debian: &[(12, 9), (13, 2)],
        severity: Severity::Warning,
        what: "an unauthenticated client can crash sshd's child by its distribution's GSSAPI key exchange",
        is_open: |effective| effective.is("GSSAPIKeyExchange", "yes") == Some(true),
    },
    Advisory {
        id: "CVE-2026-35387",
        since: Version(0, 0, 0),
        fixed: Version(10, 3, 1),
        debian: &[(12, 10), (13, 3)],
        severity: Severity::Warning,
        what: "`PubkeyAcceptedAlgorithms` with one ECDSA algorithm lets in keys of every other one",
        is_open: accepts_some_ecdsa,
    },
    Advisory {
        id: "CVE-2026-60000",
        since: Version(0, 0, 0),
        fixed: Version(10, 4, 1),
        debian: &[],
        severity: Severity::Warning,
        what: "an unauthenticated client can keep sshd busy by GSSAPI authentication, whatever `MaxAuthTries` says",
        is_open: |effective| effective.is("GSSAPIAuthentication", "yes") == Some(true),
    },
    Advisory {
        id: "CVE-2026-60001",
        since: Version(0, 0, 0),
        fixed: Version(10, 4, 1),
        debian: &[],
        severity: Severity::Note,
        what: "an unauthenticated client can tell by the time of a refusal which logins there are",
        is_open: |_| true,
    },
];

fn accepts_some_ecdsa(effective: &Effective) -> bool {
    const ALL: [&str; 3] = ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
    let accepted = effective.value("PubkeyAcceptedAlgorithms").unwrap_or_default();
    let count =
        ALL.into_iter().filter(|name| accepted.split(',').any(|algorithm| algorithm == *name)).count();
    (1..ALL.len()).contains(&count)
}

/// Faults that sshd of `version`, from `package`, has and that its settings leave open.
pub(super) fn check(version: Version, package: Option<&Package>, effective: &Effective) -> Vec<Finding> {
    let update = package.and_then(Package::debian_update);
    let is_in_update = |advisory: &Advisory| {
        let fixed_in = |(release, number)| {
            advisory.debian.iter().any(|&(wanted, first)| wanted == release && number >= first)
        };
        update.is_some_and(fixed_in)
    };
    let mut open = ADVISORIES
        .iter()
        .filter(|advisory| (advisory.since..advisory.fixed).contains(&version))
        .filter(|advisory| (advisory.is_open)(effective) && !is_in_update(advisory))
        .peekable();
    if open.peek().is_none() {
        return Vec::new();
    }
    // Distributions fix faults in old releases, and say so.
    let changelog = package.map(Package::changelog).unwrap_or_default();
    open.filter(|advisory| !changelog.contains(advisory.id))
        .map(|advisory| advisory.finding(version, package))
        .collect()
}

impl Advisory {
    fn finding(&self, version: Version, package: Option<&Package>) -> Finding {
        let Self { id, fixed, what, severity, .. } = self;
        let of =
            package.map(|package| format!(" ({} {})", package.name, package.version)).unwrap_or_default();
        let finding = Finding {
            severity: *severity,
            ..Finding::error(
                "advisory",
                format!("{id} is open in OpenSSH {version}{of}: {what}"),
                format!(
                    "fixed in OpenSSH {fixed}; neither the package's version nor its changelog says that it is fixed here"
                ),
            )
        };
        match package.filter(|_| *severity > Severity::Note) {
            Some(package) => finding.cured_by(package.update()),
            None => finding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which faults are found in an sshd with the drop-in's settings and `more`.
    #[track_caller]
    fn check_found(version: Version, package: Option<&str>, more: &str, expected: &[&str]) {
        let settings =
            "LoginGraceTime 120\nAllowAgentForwarding no\nX11Forwarding no\nGSSAPIKeyExchange no\n";
        let effective = Effective::parse(&format!("{more}\n{settings}"));
        let package = package.map(Package::made_up);
        let found = check(version, package.as_ref(), &effective);
        let ids: Vec<&str> = found.iter().filter_map(|finding| finding.what.split(' ').next()).collect();
        assert_eq!(ids, expected, "{version} {package:?} {more}");
    }

    #[test]
    fn the_distributions_version_decides() {
        let (old, timing) = (Version(9, 2, 1), "CVE-2026-60001");
        check_found(old, None, "", &["CVE-2023-48795", "CVE-2024-6387", timing]);
        check_found(old, Some("1:9.2p1-2+deb12u1"), "", &["CVE-2023-48795", "CVE-2024-6387", timing]);
        check_found(old, Some("1:9.2p1-2+deb12u2"), "", &["CVE-2024-6387", timing]);
        check_found(old, Some("1:9.2p1-2+deb12u10"), "", &[timing]);
        check_found(Version(9, 9, 1), None, "", &["CVE-2025-26466", timing]);
        check_found(Version(9, 9, 2), None, "", &[timing]);
        check_found(Version(10, 0, 2), Some("1:10.0p1-7+deb13u4"), "", &[timing]);
        check_found(Version(10, 6, 1), Some("1:10.6p1-1"), "GSSAPIAuthentication yes", &[]);
    }

    #[test]
    fn settings_that_leave_nothing_open_are_no_finding() {
        let timing = "CVE-2026-60001";
        check_found(Version(9, 7, 1), None, "LoginGraceTime 0", &["CVE-2025-26466", timing]);
        let forwarding = "CVE-2025-32728";
        check_found(Version(9, 9, 2), None, "X11Forwarding yes", &[forwarding, timing]);
        let (update, before) =
            (Some("1:9.2p1-2+deb12u6"), "PubkeyAcceptedAlgorithms ssh-ed25519,ecdsa-sha2-nistp384");
        check_found(Version(9, 2, 1), update, "X11Forwarding yes", &[timing]);
        check_found(Version(9, 2, 1), update, before, &["CVE-2026-35387", timing]);
        check_found(Version(10, 0, 2), Some("1:10.0p1-7+deb13u3"), before, &[timing]);
        check_found(Version(10, 3, 1), None, "GSSAPIAuthentication yes", &["CVE-2026-60000", timing]);
        check_found(Version(10, 2, 1), None, "GSSAPIKeyExchange yes", &["CVE-2026-3497", timing]);
    }
}
