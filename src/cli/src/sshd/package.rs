//! The distribution's package that sshd comes from, whose version says which faults it has fixed under an old number of OpenSSH's.

use std::path::Path;
use std::process::Command;

use crate::program::run;

/// A package as its manager names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// `1:9.2p1-2+deb12u10` of dpkg, `9.9p1-12.el10` of rpm.
    pub(crate) version: String,
    is_dpkg: bool,
}

impl Package {
    /// The package that `sshd` belongs to, where it belongs to one.
    pub(crate) fn of(sshd: &Path) -> Option<Self> {
        Self::of_dpkg(sshd).or_else(|| Self::of_rpm(sshd))
    }

    fn of_dpkg(sshd: &Path) -> Option<Self> {
        let owner = output(Command::new("dpkg-query").arg("--search").arg(sshd))?;
        // `openssh-server: /usr/sbin/sshd`, after lines about diversions.
        let name = owner.lines().find(|line| !line.starts_with("diversion "))?.split([':', ',']).next()?;
        let version =
            output(Command::new("dpkg-query").args(["--show", "--showformat", "${Version}", name]))?;
        Some(Self { name: name.to_owned(), version, is_dpkg: true })
    }

    fn of_rpm(sshd: &Path) -> Option<Self> {
        let format = "%{NAME} %{VERSION}-%{RELEASE}";
        let owner =
            output(Command::new("rpm").args(["--query", "--queryformat", format, "--file"]).arg(sshd))?;
        let (name, version) = owner.trim().split_once(' ')?;
        Some(Self { name: name.to_owned(), version: version.to_owned(), is_dpkg: false })
    }

    /// The release of Debian and the number of its update: 12 and 10 of `…+deb12u10`.
    pub(crate) fn debian_update(&self) -> Option<(u32, u32)> {
        let (_, update) = self.version.rsplit_once("+deb")?;
        let (release, number) = update.split_once('u')?;
        Some((release.parse().ok()?, number.parse().ok()?))
    }

    /// What the distribution has written of its changes, as it came with the package; nothing where that was left out.
    pub(crate) fn changelog(&self) -> String {
        let file = format!("/usr/share/doc/{}/changelog.Debian.gz", self.name);
        let mut command = if self.is_dpkg {
            let mut gzip = Command::new("gzip");
            gzip.args(["--decompress", "--stdout", &file]);
            gzip
        } else {
            let mut rpm = Command::new("rpm");
            rpm.args(["--query", "--changelog", &self.name]);
            rpm
        };
        output(&mut command).unwrap_or_default()
    }

    /// The command that brings the newest version of the distribution's release.
    pub(crate) fn update(&self) -> String {
        if self.is_dpkg {
            format!("apt-get update && apt-get install --only-upgrade {}", self.name)
        } else {
            format!("dnf upgrade {}", self.name)
        }
    }
}

fn output(command: &mut Command) -> Option<String> {
    let finished = run(command).ok()?;
    finished.status.success().then_some(finished.stdout)
}

#[cfg(test)]
impl Package {
    /// A package of dpkg that is not installed.
    pub(crate) fn made_up(version: &str) -> Self {
        Self { name: "no-such-package".to_owned(), version: version.to_owned(), is_dpkg: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_of_debians_is_read() {
        let check = |version: &str, expected| {
            assert_eq!(Package::made_up(version).debian_update(), expected, "{version}");
        };
        check("1:9.2p1-2+deb12u10", Some((12, 10)));
        check("1:10.0p1-7+deb13u4", Some((13, 4)));
        check("1:10.6p1-1", None);
        check("1:9.6p1-3ubuntu13.14", None);
        assert_eq!(Package::made_up("1").changelog(), "");
        assert_eq!(Package::of(Path::new("/nonexistent")), None);
    }
}
