//! The settings that sshd has in force for the login, against those by which a session is tied to its account.

use pushkeys_keys::{Login, shell_word};

use super::finding::{Finding, Severity};
use crate::sshd::{Effective, Setting, Version, matches_pattern};

/// What a setting has to be.
struct Rule {
    keyword: &'static str,
    /// The value that the drop-in gives it.
    wanted: &'static str,
    severity: Severity,
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        keyword: "AuthorizedKeysFile",
        wanted: "none",
        severity: Severity::Error,
        why: "sshd reads that file before it asks the helper, and a line in it is a shell without an account",
    },
    Rule {
        keyword: "TrustedUserCAKeys",
        wanted: "none",
        severity: Severity::Error,
        why: "a certificate of that CA opens the login without the helper, and belongs to no account",
    },
    Rule {
        keyword: "AuthorizedPrincipalsCommand",
        wanted: "none",
        severity: Severity::Warning,
        why: "it decides about certificates, which belong to no account of the key service",
    },
    Rule {
        keyword: "PubkeyAuthentication",
        wanted: "yes",
        severity: Severity::Error,
        why: "without it no key is ever looked up",
    },
    Rule {
        keyword: "AuthenticationMethods",
        wanted: "publickey",
        severity: Severity::Warning,
        why: "any other method opens the login without an account",
    },
    Rule {
        keyword: "PasswordAuthentication",
        wanted: "no",
        severity: Severity::Warning,
        why: "a guessed password opens the login's shell, and users are asked for a password that does not exist",
    },
    Rule {
        keyword: "KbdInteractiveAuthentication",
        wanted: "no",
        severity: Severity::Warning,
        why: "it asks for passwords by another name",
    },
    Rule {
        keyword: "HostbasedAuthentication",
        wanted: "no",
        severity: Severity::Warning,
        why: "it lets other machines say which user logs in",
    },
    Rule {
        keyword: "GSSAPIAuthentication",
        wanted: "no",
        severity: Severity::Warning,
        why: "it lets a Kerberos ticket in, as no account",
    },
    Rule {
        keyword: "PermitEmptyPasswords",
        wanted: "no",
        severity: Severity::Warning,
        why: "a login without a password would be open to everybody",
    },
    Rule {
        keyword: "ForceCommand",
        wanted: "none",
        severity: Severity::Error,
        why: "it takes the place of the command on the key's line, and with it of the account",
    },
    Rule {
        keyword: "ChrootDirectory",
        wanted: "none",
        severity: Severity::Error,
        why: "the forced command, the cache and git are not in there, so every session fails",
    },
    Rule {
        keyword: "DisableForwarding",
        wanted: "yes",
        severity: Severity::Error,
        why: "if a line ever came without `restrict`, its user could reach the network behind this host",
    },
    Rule {
        keyword: "PermitTunnel",
        wanted: "no",
        severity: Severity::Error,
        why: "neither `restrict` on a key's line (before OpenSSH 10.6, CVE-2026-73283) nor DisableForwarding (before 10.4, \
              CVE-2026-59999) covers tunnels",
    },
    Rule {
        keyword: "PermitUserEnvironment",
        wanted: "no",
        severity: Severity::Error,
        why: "a file in the login's home could set LD_PRELOAD for the forced command",
    },
    Rule {
        keyword: "PermitUserRC",
        wanted: "no",
        severity: Severity::Warning,
        why: "sshd would run ~/.ssh/rc before the forced command",
    },
    Rule {
        keyword: "PermitTTY",
        wanted: "no",
        severity: Severity::Warning,
        why: "git needs no terminal, and a terminal changes the bytes of its protocol",
    },
    Rule {
        keyword: "ExposeAuthInfo",
        wanted: "yes",
        severity: Severity::Warning,
        why: "without it the forced command cannot compare the key that signed with the key of its line (up to OpenSSH \
              9.8 a wrong signature leaves the options of another key behind)",
    },
];

/// What the login's environment may get from its client.
const ENVIRONMENT: &str = "GIT_PROTOCOL";
/// Names by which a client would reach into what runs for it.
const DANGEROUS: &[&str] =
    &["LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "PATH", "IFS", "GIT_DIR", "GIT_CONFIG_COUNT"];

/// Beside the drop-in, and read before it.
const BEFORE_DROP_IN: &str = "40-pushkeys.conf";

/// What sshd has in force, and where it comes from.
pub(in crate::commands) struct Sshd<'a> {
    pub(in crate::commands) effective: &'a Effective,
    pub(in crate::commands) settings: &'a [Setting],
    pub(in crate::commands) login: &'a Login,
    /// Those of the login.
    pub(in crate::commands) groups: &'a [String],
    pub(in crate::commands) version: Option<Version>,
}

impl Sshd<'_> {
    /// Everything that is wrong with the settings, but for those of the helper and for whom they keep out.
    pub(in crate::commands) fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = RULES.iter().filter_map(|rule| self.check_rule(rule)).collect();
        findings.extend(self.check_environment());
        findings
    }

    fn check_rule(&self, rule: &Rule) -> Option<Finding> {
        // A keyword that this sshd does not know cannot be set to anything.
        if self.effective.is(rule.keyword, rule.wanted)? || self.is_shut_out(rule.keyword) {
            return None;
        }
        let value = self.effective.value(rule.keyword)?;
        let what = format!(
            "`{} {}` is in force for `{}`{}",
            rule.keyword,
            pushkeys_keys::escape(value),
            self.login,
            self.place(rule.keyword)
        );
        let finding = Finding { severity: rule.severity, ..Finding::error("sshd-setting", what, rule.why) };
        Some(self.cured(finding, rule.keyword, rule.wanted))
    }

    /// Distributions ship `GSSAPIAuthentication yes`, or an sshd that does not know the keyword, so the drop-in says neither: no other
    /// method than the one in `AuthenticationMethods` is taken.
    fn is_shut_out(&self, keyword: &str) -> bool {
        keyword == "GSSAPIAuthentication"
            && self.effective.is("AuthenticationMethods", "publickey") == Some(true)
    }

    fn check_environment(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let accepted: Vec<&str> = self.effective.values("AcceptEnv").collect();
        let others: Vec<&str> = accepted.iter().copied().filter(|name| *name != ENVIRONMENT).collect();
        if !others.is_empty() {
            let is_dangerous = |pattern: &&str| DANGEROUS.iter().any(|name| matches_pattern(name, pattern));
            let what = format!(
                "`{}` lets clients set {} in their sessions{}",
                "AcceptEnv",
                pushkeys_keys::escape(&others.join(" ")),
                self.place("AcceptEnv")
            );
            let why = "the login's shell starts with it, before the forced command builds an environment of its own";
            let finding = if others.iter().any(is_dangerous) {
                Finding::error("accept-env", what, why)
            } else {
                Finding::warning("accept-env", what, why)
            };
            findings.push(self.cured(finding, "AcceptEnv", ENVIRONMENT));
        } else if accepted.is_empty() {
            let finding = Finding::warning(
                "accept-env",
                format!("`AcceptEnv {ENVIRONMENT}` is not in force for `{}`", self.login),
                "git falls back to protocol version 0, which lists every reference of a repository",
            );
            findings.push(self.cured(finding, "AcceptEnv", ENVIRONMENT));
        }
        findings
    }

    /// `finding` with the command that puts `keyword` right, where a line can be named.
    pub(super) fn cured(&self, finding: Finding, keyword: &str, wanted: &str) -> Finding {
        match self.cure(keyword, wanted) {
            Some(cure) => finding.cured_by(cure),
            None => finding,
        }
    }

    /// The command that makes `keyword` what is wanted: in the line that is in force if it stands in a block of the
    /// login's, and else as the first line of such a block, which overrides whatever is global.
    pub(super) fn cure(&self, keyword: &str, wanted: &str) -> Option<String> {
        // PermitUserEnvironment cannot stand in a block.
        let is_global_only = keyword == "PermitUserEnvironment";
        let line = self.lines(keyword).find(|setting| is_global_only || !setting.is_global());
        let block = line.or_else(|| self.block())?;
        let (file, number) = (shell_word(&block.file.to_string_lossy()), block.line);
        if block.file.is_symlink() && !is_global_only {
            // The drop-in is the package's: what is read before it wins.
            let before = shell_word(&block.file.with_file_name(BEFORE_DROP_IN).to_string_lossy());
            let login = self.login;
            return Some(format!(
                "printf 'Match User {login}\\n    {keyword} {wanted}\\nMatch all\\n' >> {before}"
            ));
        }
        Some(match line {
            Some(_) => format!("sed -i --follow-symlinks '{number}s|.*|    {keyword} {wanted}|' {file}"),
            None => format!("sed -i --follow-symlinks '{number}a\\    {keyword} {wanted}' {file}"),
        })
    }

    /// The `Match` line of the login's block.
    pub(super) fn block(&self) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.begins_block_of(self.login))
    }

    /// The lines with `keyword` that could hold for the login.
    pub(super) fn lines(&self, keyword: &str) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |setting| {
            setting.keyword.eq_ignore_ascii_case(keyword) && setting.may_hold(self.login, self.groups)
        })
    }

    /// Where `keyword` is set, in words.
    pub(in crate::commands) fn place(&self, keyword: &str) -> String {
        let mut places: Vec<String> = self
            .lines(keyword)
            .take(3)
            .map(|setting| {
                format!("{}:{}", pushkeys_keys::escape(&setting.file.to_string_lossy()), setting.line)
            })
            .collect();
        places.dedup();
        if places.is_empty() { String::new() } else { format!(" (see {})", places.join(", ")) }
    }
}

/// What is known to bite in an OpenSSH of this version, whatever its settings.
pub(super) fn of_version(version: Option<Version>) -> Vec<Finding> {
    let Some(version) = version else {
        return vec![Finding::warning(
            "version",
            "the version of sshd cannot be told",
            "what is known to bite depends on it; pushkeys is tested with OpenSSH 9.2, 10.0 and 10.6",
        )];
    };
    let mut findings = Vec::new();
    if version < Version(9, 1, 1) {
        let what = format!("OpenSSH {version} does not read expiry times in UTC");
        let why =
            "it skips the line of every key that has an expiry, so such keys are refused from the first day";
        findings.push(Finding::warning("version", what, why));
    }
    if version < Version(9, 9, 1) {
        findings.push(Finding::note(
            "version",
            format!("OpenSSH {version} keeps the options of a key after a wrong signature with it"),
            "every line of pushkeys has a command of its own, which OpenSSH refuses to mix; another program's line with \
             `environment=` would lend its identity to strangers",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../../packaging/sshd_config.d/50-pushkeys.conf");

    #[test]
    fn every_rule_is_what_the_shipped_drop_in_says() {
        for rule in RULES {
            let line = format!("{} {}", rule.keyword, rule.wanted);
            let is_there = SHIPPED.lines().any(|shipped| shipped.trim() == line);
            let is_default = [
                "ForceCommand none",
                "ChrootDirectory none",
                "PermitUserEnvironment no",
                "GSSAPIAuthentication no",
            ];
            assert!(is_there || is_default.contains(&line.as_str()), "{line}");
        }
        assert!(SHIPPED.contains(&format!("    AcceptEnv {ENVIRONMENT}\n")));
    }

    #[test]
    fn what_bites_depends_on_the_version() {
        let check = |version, expected: &[Severity]| {
            let found: Vec<Severity> =
                of_version(version).into_iter().map(|finding| finding.severity).collect();
            assert_eq!(found, expected, "{version:?}");
        };
        check(None, &[Severity::Warning]);
        check(Some(Version(8, 4, 1)), &[Severity::Warning, Severity::Note]);
        check(Some(Version(9, 1, 1)), &[Severity::Note]);
        check(Some(Version(9, 8, 1)), &[Severity::Note]);
        check(Some(Version(9, 9, 1)), &[]);
        check(Some(Version(10, 5, 1)), &[]);
    }

    #[test]
    fn what_depends_on_the_version_or_on_another_setting_is_found() {
        let login = "git".parse().unwrap();
        let check = |text: &str, version, expected: &[(&str, Severity)]| {
            let effective = Effective::parse(&format!("acceptenv GIT_PROTOCOL\n{text}"));
            let sshd = Sshd {
                effective: &effective,
                settings: &[],
                login: &login,
                groups: &[],
                version: Some(version),
            };
            let findings = sshd.check();
            let found: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("permittunnel no", Version(9, 2, 1), &[]);
        check("permittunnel yes", Version(9, 2, 1), &[("sshd-setting", Severity::Error)]);
        check("PermitTunnel yes", Version(10, 6, 1), &[("sshd-setting", Severity::Error)]);
        let any = [("sshd-setting", Severity::Warning), ("sshd-setting", Severity::Warning)];
        check("GSSAPIAuthentication yes\nAuthenticationMethods any", Version(10, 6, 1), &any);
        check("GSSAPIAuthentication yes\nAuthenticationMethods publickey", Version(10, 6, 1), &[]);
    }
}
