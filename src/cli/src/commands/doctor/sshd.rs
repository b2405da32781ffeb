//! What sshd itself says: its version, and the settings in force for one login.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use pushkeys_keys::Login;

use crate::program::run;

/// Where the client is said to come from: documentation addresses, which no `Match Address` should know.
const CLIENT: &str = "host=client.example.com,addr=192.0.2.1";

/// The settings in force, as `sshd -T` prints them: lower-case keyword, then the value.
#[derive(Debug, Default)]
pub(super) struct Effective(Vec<(String, String)>);

/// OpenSSH's version, such as 9.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Effective {
    /// Asks `sshd` for the settings that `config` leads to for `login`.
    pub(super) fn ask(sshd: &Path, config: &Path, login: &str) -> Result<Self> {
        let connection = format!("user={login},{CLIENT}");
        let finished = run(Command::new(sshd).arg("-T").arg("-f").arg(config).arg("-C").arg(connection))?;
        if !finished.status.success() {
            let said: Vec<&str> = finished.stderr.lines().take(3).collect();
            bail!(
                "`{} -T` ended with {}: {}",
                sshd.display(),
                finished.ending(),
                pushkeys_keys::escape(&said.join("; "))
            );
        }
        Ok(Self::parse(&finished.stdout))
    }

    pub(super) fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            (keyword.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self(text.lines().map(pair).collect())
    }

    /// The value of `keyword`, if this sshd knows it.
    pub(super) fn value(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// Every value of a keyword that may stand more than once.
    pub(super) fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// The words of every line of `keyword`: lists are printed on one line, or on a line per word.
    pub(super) fn words<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(keyword).flat_map(str::split_ascii_whitespace)
    }
}

impl Version {
    /// The version of `sshd`. Releases that do not know `-V` print it with their usage.
    pub(super) fn ask(sshd: &Path) -> Option<Self> {
        let finished = run(Command::new(sshd).arg("-V")).ok()?;
        Self::find(&finished.stderr).or_else(|| Self::find(&finished.stdout))
    }

    fn find(text: &str) -> Option<Self> {
        let rest = text.split_once("OpenSSH_")?.1;
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        let (major, minor) = rest.split_once('.')?;
        Some(Self(number(major)?, number(minor)?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

/// Whether `login` is let in by the lists of `AllowUsers` and `DenyUsers`; patterns with a host are not judged.
pub(super) fn is_listed<'a>(login: &Login, mut patterns: impl Iterator<Item = &'a str>) -> bool {
    patterns.any(|pattern| {
        let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
        !negated && matches_pattern(login.as_str().as_bytes(), pattern.split('@').next().unwrap_or_default())
    })
}

/// Patterns of `ssh_config(5)`: `*` stands for any characters, `?` for one.
pub(super) fn matches_pattern(text: &[u8], pattern: &str) -> bool {
    let pattern = pattern.as_bytes();
    let (mut at, mut place, mut star) = (0, 0, None);
    // Each turn moves `at`, `place`, or the star's end, which never goes back: at most the product of both lengths.
    while let Some(byte) = text.get(at) {
        match pattern.get(place) {
            Some(b'*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_place, star_at)) = star else { return false };
                star = Some((star_place, star_at + 1));
                (at, place) = (star_at + 1, star_place + 1);
            }
        }
    }
    pattern.get(place..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_whatever_sshd_prints() {
        let check = |text: &str, expected| assert_eq!(Version::find(text), expected, "{text}");
        check("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", Some(Version(9, 2)));
        check("OpenSSH_9.2, OpenSSL 3.0.19\n", Some(Version(9, 2)));
        check("unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1\nusage: sshd\n", Some(Version(8, 4)));
        check("OpenSSH_10.5p1, LibreSSL\n", Some(Version(10, 5)));
        check("dropbear", None);
        assert!(Version(10, 0) > Version(9, 8));
    }

    #[test]
    fn lists_of_users_are_matched_as_sshd_does() {
        let git = "git".parse().unwrap();
        let check = |patterns: &str, expected| {
            assert_eq!(is_listed(&git, patterns.split(' ')), expected, "{patterns}");
        };
        check("git", true);
        check("g?t", true);
        check("*", true);
        check("g*t*", true);
        check("root git@192.0.2.*", true);
        check("gi", false);
        check("git-*", false);
        check("!git", false);
        check("*x*y", false);
    }
}
