//! Users and groups, as the system's databases have them.

use std::path::PathBuf;
use std::process::Command;

use crate::program::run;

/// One line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) home: PathBuf,
    pub(crate) shell: String,
}

/// The fields of a line of shadow(5) that decide about a login without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shadow {
    pub(crate) password: String,
    /// The day after 1970-01-01 from which on the account has expired.
    pub(crate) expires_day: Option<i64>,
}

impl User {
    /// The user called `name`, or with the number `name`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::parse(&get_entry("passwd", name)?)
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let home = fields.nth(2)?.into();
        Some(Self { name, uid, home, shell: fields.next()?.to_owned() })
    }

    /// Its groups' names.
    pub(crate) fn groups(&self) -> Vec<String> {
        let ids = run(Command::new("id").args(["-Gn", "--", &self.name]));
        let text = ids.ok().filter(|finished| finished.status.success()).map(|finished| finished.stdout);
        text.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    }
}

impl Shadow {
    /// The line of `name`, which only root may read.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::parse(&get_entry("shadow", name)?)
    }

    /// Whether some password is right: what cannot be a hash, as `*` and `!` cannot, locks every password out.
    pub(crate) fn has_password(&self) -> bool {
        !self.password.starts_with(['*', '!'])
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let password = fields.nth(1)?.to_owned();
        Some(Self { password, expires_day: fields.nth(5).and_then(|day| day.parse().ok()) })
    }
}

fn get_entry(database: &str, key: &str) -> Option<String> {
    let finished = run(Command::new("getent").args([database, key])).ok()?;
    finished.status.success().then_some(finished.stdout)
}

/// The name of the group with the number `gid`.
pub(crate) fn group_name(gid: u32) -> Option<String> {
    Some(get_entry("group", &gid.to_string())?.split(':').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let user = User::parse("git:x:994:993::/var/lib/pushkeys/git:/bin/sh\n").unwrap();
        assert_eq!(
            (user.uid, user.home.to_str().unwrap(), user.shell.as_str()),
            (994, "/var/lib/pushkeys/git", "/bin/sh")
        );
        assert_eq!(User::parse("git:x"), None);
        assert_eq!(Shadow::parse("git:*:20781::::::\n").unwrap().expires_day, None);
        assert_eq!(Shadow::parse("git:!:1::::::\n").unwrap().password, "!");
        assert_eq!(Shadow::parse("git:*:1:::::20000:").unwrap().expires_day, Some(20_000));
        assert!(Shadow::parse("git:$y$j9T$x:1::::::\n").unwrap().has_password());
        assert!(!Shadow::parse("git:*:1::::::\n").unwrap().has_password());
        assert_eq!(User::find("root").unwrap().uid, 0);
        assert_eq!(User::find("no-such-user-here"), None);
    }
}
