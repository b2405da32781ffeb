//! Which users sshd refuses before any key is looked up, which keys it accepts at all, and how many connections at once.

use std::fs::File;
use std::path::{Path, PathBuf};

use pushkeys_keys::{Algorithm, RSA_MODULUS_BITS_MIN, shell_word};

use super::finding::Finding;
use super::settings::Sshd;
use crate::log::{Dropped, accepted, dropped};
use crate::output::count;
use crate::sshd::{Setting, Version, is_listed, matches_pattern};

/// OpenSSH's own values.
const TRIES: u32 = 6;
const STARTUPS: u32 = 10;
const SESSIONS: u32 = 10;
/// How many addresses are named that were shut out.
const ADDRESSES_MAX: usize = 16;

/// RSA's other signature: one of the two will do.
const RSA_BESIDES: &str = "rsa-sha2-256";

const REFUSED: &str = "sshd refuses the login before any key is looked up";

/// Everything that keeps out users whose keys are known. `lines` are those of sshd's log; `config` is its main file.
pub(super) fn check(sshd: &Sshd<'_>, lines: &[String], config: &Path) -> Vec<Finding> {
    let mut findings = check_users(sshd);
    findings.extend(check_groups(sshd));
    findings.extend(check_key_types(sshd));
    findings.extend(check_numbers(sshd));
    findings.extend(check_revoked_keys(sshd));
    findings.extend(check_startups(sshd));
    findings.extend(check_log_level(sshd));
    findings.extend(check_penalties(sshd, lines, config));
    findings
}

fn check_users(sshd: &Sshd<'_>) -> Vec<Finding> {
    let login = sshd.login;
    let mut findings = Vec::new();
    let patterns = |keyword| sshd.effective.values(keyword);
    if is_listed(login, patterns("DenyUsers")) {
        let what = format!("`DenyUsers` names `{login}`{}", sshd.place("DenyUsers"));
        findings.push(Finding::error("allow-users", what, REFUSED));
    }
    if patterns("AllowUsers").next().is_some() && !is_listed(login, patterns("AllowUsers")) {
        let what = format!("`AllowUsers` does not name `{login}`{}", sshd.place("AllowUsers"));
        let finding = Finding::error("allow-users", what, REFUSED);
        findings.push(with_word_added(sshd, finding, "AllowUsers", login.as_str()));
    }
    findings
}

fn check_groups(sshd: &Sshd<'_>) -> Vec<Finding> {
    let (login, groups) = (sshd.login, sshd.groups);
    let mut findings = Vec::new();
    let named = |keyword| {
        let mut patterns = sshd.effective.values(keyword);
        patterns.find_map(|pattern| groups.iter().find(|group| matches_pattern(group, pattern)))
    };
    if let Some(group) = named("DenyGroups") {
        let place = sshd.place("DenyGroups");
        let what =
            format!("`DenyGroups` names `{}`, a group of `{login}`{place}", pushkeys_keys::escape(group));
        findings.push(Finding::error("allow-groups", what, REFUSED));
    }
    if sshd.effective.values("AllowGroups").next().is_some() && named("AllowGroups").is_none() {
        let what = format!("`AllowGroups` names no group of `{login}`{}", sshd.place("AllowGroups"));
        let finding = Finding::error("allow-groups", what, REFUSED);
        findings.push(match groups.first() {
            Some(group) => with_word_added(sshd, finding, "AllowGroups", group),
            None => finding,
        });
    }
    findings
}

/// `finding` with the command that adds `word` to the first line of `keyword`.
fn with_word_added(sshd: &Sshd<'_>, finding: Finding, keyword: &str, word: &str) -> Finding {
    match sshd.lines(keyword).next() {
        Some(Setting { file, line, .. }) => {
            let file = shell_word(&file.to_string_lossy());
            finding.cured_by(format!("sed -i --follow-symlinks '{line}s/$/ {word}/' {file}"))
        }
        None => finding,
    }
}

fn check_key_types(sshd: &Sshd<'_>) -> Option<Finding> {
    let keyword = "PubkeyAcceptedAlgorithms";
    let accepted: Vec<&str> = sshd.effective.value("PubkeyAcceptedAlgorithms")?.split(',').collect();
    let is_accepted = |algorithm: &Algorithm| {
        accepted.contains(&signature(*algorithm))
            || *algorithm == Algorithm::Rsa && accepted.contains(&RSA_BESIDES)
    };
    // A type that sshd does not know would keep it from starting.
    let is_known = |algorithm: &Algorithm| {
        let since = algorithm.since_openssh();
        since.is_none_or(|(major, minor)| {
            sshd.version.is_some_and(|version| version >= Version(major, minor, 0))
        })
    };
    let missing =
        Algorithm::ALL.into_iter().filter(|algorithm| is_known(algorithm) && !is_accepted(algorithm));
    let missing: Vec<&str> = missing.map(signature).collect();
    (!missing.is_empty()).then(|| {
        let what = format!(
            "sshd takes no signature of {} for `{}`{}",
            missing.join(", "),
            sshd.login,
            sshd.place(keyword)
        );
        let why = "the service registers such keys, and sshd refuses them here without asking the helper";
        let wanted = [accepted.as_slice(), &missing].concat().join(",");
        sshd.cured(Finding::warning("key-types", what, why), keyword, &wanted)
    })
}

/// What sshd calls a signature of such a key.
fn signature(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rsa => "rsa-sha2-512",
        other => other.name(),
    }
}

fn check_numbers(sshd: &Sshd<'_>) -> Vec<Finding> {
    let value = |keyword: &str| sshd.effective.value(keyword)?.parse::<u32>().ok();
    let said = |keyword: &str, value: u32| {
        format!("`{keyword} {value}` is in force for `{}`{}", sshd.login, sshd.place(keyword))
    };
    let mut findings = Vec::new();
    if let Some(bits) = value("RequiredRSASize").filter(|&bits| bits > RSA_MODULUS_BITS_MIN) {
        let why = "the service registers RSA keys from 2048 bits on, and sshd refuses the smaller ones here without asking \
                   the helper";
        let finding = Finding::warning("key-types", said("RequiredRSASize", bits), why);
        findings.push(sshd.cured(finding, "RequiredRSASize", &RSA_MODULUS_BITS_MIN.to_string()));
    }
    if let Some(tries) = value("MaxAuthTries").filter(|&tries| tries < TRIES) {
        let why = "every key that a client offers is a try: users with several keys in their agent are refused before the \
                   right one has its turn";
        let finding = Finding::warning("max-auth-tries", said("MaxAuthTries", tries), why);
        findings.push(sshd.cured(finding, "MaxAuthTries", &TRIES.to_string()));
    }
    if let Some(sessions) = value("MaxSessions").filter(|&sessions| sessions == 0) {
        let why = "sshd lets users log in, and then runs nothing for them";
        let finding = Finding::error("max-sessions", said("MaxSessions", sessions), why);
        findings.push(sshd.cured(finding, "MaxSessions", &SESSIONS.to_string()));
    }
    findings
}

/// sshd reads the lists itself, as root. There is no command for one that is missing: to leave it out would let in what it revoked.
fn check_revoked_keys(sshd: &Sshd<'_>) -> Vec<Finding> {
    const WHY: &str = "sshd refuses every key as long as it cannot read each of these lists";
    let keyword = "RevokedKeys";
    let unreadable = |path: &PathBuf| {
        let error = File::open(path).err()?;
        let path = pushkeys_keys::escape(&path.to_string_lossy()).into_owned();
        let what = format!("cannot read `{path}`, a list of `{keyword}`{}: {error}", sshd.place(keyword));
        Some(Finding::error("revoked-keys", what, WHY))
    };
    let paths = sshd.effective.paths(keyword);
    if !paths.iter().all(|path| path == Path::new("none")) {
        return paths.iter().filter_map(unreadable).collect();
    }
    // Outside of blocks, `none` is no list. In a block, every release up to 10.6 reads it as a file of that name.
    let Some(setting) = sshd.lines(keyword).find(|setting| !setting.is_global()) else { return Vec::new() };
    let what = format!("`{keyword} none` stands in a `Match` block{}", sshd.place(keyword));
    let why = "sshd takes `none` there for the name of a list, cannot read it, and refuses every key";
    let cure = format!(
        "sed -i --follow-symlinks '{}s/^/# /' {}",
        setting.line,
        shell_word(&setting.file.to_string_lossy())
    );
    vec![Finding::error("revoked-keys", what, why).cured_by(cure)]
}

fn check_startups(sshd: &Sshd<'_>) -> Option<Finding> {
    let value = sshd.effective.value("MaxStartups")?;
    let start: u32 = value.split(':').next()?.parse().ok()?;
    (start <= STARTUPS).then(|| {
        Finding::note(
            "max-startups",
            format!("`MaxStartups {value}`: above {start} log-ins at once, sshd drops connections"),
            "a burst of pushes, such as that of a CI system in the morning, sees connections reset; a push host stands more",
        )
    })
}

/// Below VERBOSE sshd does not log which key it refused.
fn check_log_level(sshd: &Sshd<'_>) -> Option<Finding> {
    let level = sshd.effective.value("LogLevel")?;
    (level != "VERBOSE" && !level.starts_with("DEBUG")).then(|| {
        let what = format!("`LogLevel {level}` is in force for `{}`{}", sshd.login, sshd.place("LogLevel"));
        let why = "sshd does not log which keys it refuses, so `pushkeys explain` cannot tell when one was";
        sshd.cured(Finding::note("log-level", what, why), "LogLevel", "VERBOSE")
    })
}

/// `lines` are those of the log, where it could be read.
fn check_penalties(sshd: &Sshd<'_>, lines: &[String], config: &Path) -> Option<Finding> {
    let keyword = "PerSourcePenaltyExemptList";
    let penalties = sshd.effective.value("PerSourcePenalties")?;
    let exempt = sshd.effective.value(keyword).filter(|list| *list != "none");
    if penalties == "no" {
        return None;
    }
    // An address that only ever failed may be an attacker's.
    let of_users = accepted(lines, sshd.login);
    let shut_out: Vec<Dropped> = dropped(lines)
        .into_iter()
        .filter(|dropped| of_users.contains(&dropped.address) && dropped.reason.starts_with("penalty"))
        .take(ADDRESSES_MAX)
        .collect();
    let why = "users behind one address, such as that of a CI system, are shut out together, for 15 s up to 10 min, when some of \
               them offer keys that nobody knows";
    if shut_out.is_empty() {
        let what = "sshd shuts out addresses that fail often, and no address is exempt";
        let why = format!("{why}; {keyword} names addresses that never are");
        return exempt.is_none().then(|| Finding::note("penalties", what, why));
    }
    let named =
        |dropped: &Dropped| format!("{} ({})", dropped.address, count(dropped.times, "time", "times"));
    let what = format!(
        "sshd shut out addresses from which `{}` logs in: {}",
        sshd.login,
        shut_out.iter().map(named).collect::<Vec<_>>().join(", ")
    );
    let list: Vec<String> = exempt
        .map(str::to_owned)
        .into_iter()
        .chain(shut_out.iter().map(|dropped| dropped.address.to_string()))
        .collect();
    // It cannot stand in a block, and the first value counts.
    let line = shell_word(&format!("1i {keyword} {}", list.join(",")));
    let cure = format!("sed -i --follow-symlinks {line} {}", shell_word(&config.to_string_lossy()));
    Some(Finding::warning("penalties", what, why).cured_by(cure))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;
    use crate::sshd::{Effective, Version};

    /// Checks what is found where sshd's settings are `text`.
    #[track_caller]
    fn find(text: &str, expected: &[(&str, Severity)]) {
        let findings = findings_of(text, &[]);
        let found: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
        assert_eq!(found, expected, "{text}");
    }

    fn findings_of(text: &str, lines: &[&str]) -> Vec<Finding> {
        findings_of_version(Version(9, 8, 1), text, lines)
    }

    fn findings_of_version(version: Version, text: &str, lines: &[&str]) -> Vec<Finding> {
        let login = "git".parse().unwrap();
        let (effective, groups) = (Effective::parse(text), ["git".to_owned(), "pushkeys".to_owned()]);
        let sshd = Sshd {
            effective: &effective,
            settings: &[],
            login: &login,
            groups: &groups,
            version: Some(version),
        };
        let lines: Vec<String> = lines.iter().map(|line| format!("Nov 24 12:00:00 push-1 {line}")).collect();
        check(&sshd, &lines, Path::new("/etc/ssh/sshd_config"))
    }

    #[test]
    fn groups_that_are_kept_out_are_found() {
        let error = [("allow-groups", Severity::Error)];
        find("allowgroups root\nallowgroups push*", &[]);
        find("allowgroups root\nallowgroups wheel", &error);
        find("AllowGroups root git", &error);
        find("denygroups staff", &[]);
        find("denygroups staff\ndenygroups g?t", &error);
    }

    #[test]
    fn keys_that_are_registered_and_refused_are_found() {
        let warning = [("key-types", Severity::Warning)];
        let all = Algorithm::ALL.map(signature).join(",");
        find(&format!("pubkeyacceptedalgorithms {all}"), &[]);
        find(&format!("pubkeyacceptedalgorithms {}", all.replace("-512", "-256")), &[]);
        find(&format!("pubkeyacceptedalgorithms {}", all.replace("ssh-ed25519,", "")), &warning);
        find(&format!("pubkeyacceptedalgorithms {}", all.replace("rsa-sha2-512", "ssh-rsa")), &warning);
        // A type that is younger than sshd is not asked of it.
        let without = format!("pubkeyacceptedalgorithms {}", all.replace(",ssh-mldsa44-ed25519", ""));
        find(&without, &[]);
        assert_eq!(findings_of_version(Version(10, 5, 1), &without, &[]).len(), 0);
        assert_eq!(findings_of_version(Version(10, 6, 1), &without, &[]).len(), 1);
        find("requiredrsasize 2048", &[]);
        find("requiredrsasize 3072", &warning);
    }

    #[test]
    fn numbers_that_keep_users_out_are_found() {
        find("maxauthtries 6\nmaxsessions 1\nmaxstartups 100:30:200", &[]);
        find("maxauthtries 3", &[("max-auth-tries", Severity::Warning)]);
        find("maxsessions 0", &[("max-sessions", Severity::Error)]);
        find("maxstartups 10:30:100", &[("max-startups", Severity::Note)]);
        find("loglevel INFO", &[("log-level", Severity::Note)]);
        find("LogLevel VERBOSE", &[]);
    }

    #[test]
    fn a_list_of_revoked_keys_that_cannot_be_read_is_found() {
        let error = ("revoked-keys", Severity::Error);
        find("revokedkeys none", &[]);
        find("revokedkeys /etc/passwd", &[]);
        find("revokedkeys /nonexistent/list", &[error]);
        find("RevokedKeys /etc/passwd /etc/group", &[]);
        find("RevokedKeys /etc/passwd /nonexistent/list /etc/group /nonexistent/another", &[error, error]);
    }

    #[test]
    fn penalties_without_exemption_are_told() {
        let note = [("penalties", Severity::Note)];
        find("persourcepenalties authfail:5s\npersourcepenaltyexemptlist none", &note);
        find("persourcepenalties authfail:5s\npersourcepenaltyexemptlist 192.0.2.0/24", &[]);
        find("persourcepenalties no\npersourcepenaltyexemptlist none", &[]);
    }

    #[test]
    fn addresses_of_users_that_are_shut_out_are_to_be_exempt() {
        let drop = |address: &str| {
            format!(
                "sshd[1]: drop connection #0 from [{address}]:4 on [192.0.2.1]:22 penalty: failed authentication"
            )
        };
        let (users, strangers) = (drop("192.0.2.7"), drop("192.0.2.8"));
        let accepted =
            "sshd-session[1]: Accepted publickey for git from 192.0.2.7 port 22 ssh2: ED25519 SHA256:x";
        let cure = |list: &str, lines: &[&str]| {
            let text = format!("PerSourcePenalties authfail:5.000000\nPerSourcePenaltyExemptList {list}");
            let [finding] = findings_of(&text, lines).try_into().unwrap();
            (finding.severity, finding.cure)
        };
        let put = |list: &str| {
            Some(format!(
                "sed -i --follow-symlinks '1i PerSourcePenaltyExemptList {list}' /etc/ssh/sshd_config"
            ))
        };
        assert_eq!(cure("none", &[&strangers]), (Severity::Note, None));
        assert_eq!(cure("none", &[&strangers, &users]), (Severity::Note, None));
        assert_eq!(cure("none", &[&strangers, &users, accepted]), (Severity::Warning, put("192.0.2.7")));
        assert_eq!(cure("10.0.0.0/8", &[&users, accepted]), (Severity::Warning, put("10.0.0.0/8,192.0.2.7")));
    }
}
