//! Which OpenSSH this is.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::program::run;

/// OpenSSH's version: 9.9p2 is `Version(9, 9, 2)`. Where sshd leaves out the part after the `p`, it is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// The version of `sshd`. Releases that do not know `-V` print it with their usage.
    pub(crate) fn ask(sshd: &Path) -> Option<Self> {
        let finished = run(Command::new(sshd).arg("-V")).ok()?;
        Self::find(&finished.stderr).or_else(|| Self::find(&finished.stdout))
    }

    /// The version in `OpenSSH_9.9p2 …`, wherever it stands in `text`.
    fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("OpenSSH_")?;
        Self::parse(rest)
    }

    /// The version that `text` begins with, such as `9.9p2-1`.
    fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, rest) = rest.split_at_checked(digits)?;
        let patch = rest
            .strip_prefix('p')
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        let patch = patch.and_then(|digits| digits.parse().ok()).unwrap_or(1);
        Some(Self(major.parse().ok()?, minor.parse().ok()?, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)?;
        if self.2 > 1 { write!(out, "p{}", self.2) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_whatever_sshd_prints() {
        let check = |text: &str, expected| assert_eq!(Version::find(text), expected, "{text}");
        check("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", Some(Version(9, 2, 1)));
        check("OpenSSH_9.2, OpenSSL 3.0.19\n", Some(Version(9, 2, 1)));
        check("unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1\nusage: sshd\n", Some(Version(8, 4, 1)));
        check("OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.9\n", Some(Version(10, 0, 2)));
        check("OpenSSH_10.6p1 Debian-1, OpenSSL 3.6.5\n", Some(Version(10, 6, 1)));
        check("OpenSSH_10.5p1, LibreSSL\n", Some(Version(10, 5, 1)));
        check("dropbear", None);
        assert!(Version(10, 0, 1) > Version(9, 8, 1));
        assert!(Version(9, 9, 2) > Version(9, 9, 1));
        assert_eq!([Version(9, 9, 1), Version(9, 9, 2)].map(|version| version.to_string()), ["9.9", "9.9p2"]);
    }
}
