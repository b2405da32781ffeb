//! Who can have written or read a file.

use std::path::Path;

use rustix::fs::Stat;

use crate::error::{Distrust, Owner, Untrusted};

/// The write bits of group and others.
const WRITABLE_BY_GROUP_OR_OTHERS: u32 = 0o022;
/// All bits of others.
const ACCESSIBLE_TO_OTHERS: u32 = 0o007;
/// All bits of group and others.
const ACCESSIBLE_TO_GROUP_OR_OTHERS: u32 = 0o077;
const EXECUTABLE: u32 = 0o111;
const PERMISSIONS: u32 = 0o7777;

/// The requirements on a file's owner and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    owner: Owner,
    readers: Readers,
    is_program: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    All,
    OwnerAndGroup,
    Owner,
}

impl Trust {
    /// Only root can have written it.
    pub const ROOT: Self = Self::owned_by(Owner::Root);
    /// Only root and the user of this process can have written it.
    pub const ROOT_OR_SELF: Self = Self::owned_by(Owner::RootOrSelf);
    /// Only its owner can have written it, whichever user that is: a command that root runs uses files of the service's user.
    pub const OWNER: Self = Self::owned_by(Owner::Any);

    const fn owned_by(owner: Owner) -> Self {
        Self { owner, readers: Readers::All, is_program: false }
    }

    /// Only the user with the uid `user` can have written it.
    #[must_use]
    pub const fn user(user: u32) -> Self {
        Self::owned_by(Owner::User(user))
    }

    /// Additionally, only its owner and its group can have read it, since it holds a secret.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { readers: Readers::OwnerAndGroup, ..self }
    }

    /// Additionally, only its owner can have read it.
    #[must_use]
    pub const fn private(self) -> Self {
        Self { readers: Readers::Owner, ..self }
    }

    /// Additionally, it is executable.
    #[must_use]
    pub const fn program(self) -> Self {
        Self { is_program: true, ..self }
    }

    /// Checks the owner and mode in `stat`, which belongs to `path`.
    pub fn check(self, path: &Path, stat: &Stat) -> Result<(), Untrusted> {
        self.distrust(stat).map_or(Ok(()), |why| Err(Untrusted::new(path, why)))
    }

    fn distrust(self, stat: &Stat) -> Option<Distrust> {
        let (owner, mode) = (stat.st_uid, stat.st_mode & PERMISSIONS);
        let is_expected_owner = match self.owner {
            Owner::Any => true,
            Owner::Root => owner == 0,
            Owner::RootOrSelf => owner == 0 || owner == rustix::process::geteuid().as_raw(),
            Owner::User(user) => owner == user,
        };
        if !is_expected_owner {
            Some(Distrust::Owner { owner, expected: self.owner })
        } else if self.readers == Readers::Owner && mode & ACCESSIBLE_TO_GROUP_OR_OTHERS != 0 {
            Some(Distrust::Shared { mode })
        } else if mode & WRITABLE_BY_GROUP_OR_OTHERS != 0 {
            Some(Distrust::Writable { mode })
        } else if self.readers == Readers::OwnerAndGroup && mode & ACCESSIBLE_TO_OTHERS != 0 {
            Some(Distrust::Open { mode })
        } else if self.is_program && mode & EXECUTABLE == 0 {
            Some(Distrust::NotExecutable)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    const OTHER_USER: u32 = 65534;

    /// Checks a file with `owner` and `mode`. Needs root, as the whole suite does.
    #[track_caller]
    fn check(trust: Trust, owner: u32, mode: u32, expected: Option<(Distrust, &str)>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file");
        fs::write(&path, "").unwrap();
        chown(&path, Some(owner), None).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let refused = trust.check(&path, &rustix::fs::stat(&path).unwrap()).err();
        let expected = expected.map(|(why, command)| (why, format!("{command} '{}'", path.display())));
        let found = refused.map(|refused| (refused.why, refused.hint.unwrap().to_string()));
        assert_eq!(found, expected, "{trust:?} {owner} {mode:o}");
    }

    #[test]
    fn an_unexpected_owner_is_refused() {
        let owner = |expected| Distrust::Owner { owner: OTHER_USER, expected };
        check(Trust::ROOT, 0, 0o644, None);
        check(Trust::ROOT, OTHER_USER, 0o644, Some((owner(Owner::Root), "chown root")));
        check(Trust::ROOT_OR_SELF, 0, 0o644, None);
        check(Trust::ROOT_OR_SELF, OTHER_USER, 0o644, Some((owner(Owner::RootOrSelf), "chown root")));
        check(Trust::user(OTHER_USER), OTHER_USER, 0o644, None);
        check(Trust::user(7), OTHER_USER, 0o644, Some((owner(Owner::User(7)), "chown 7")));
        check(
            Trust::user(OTHER_USER),
            0,
            0o644,
            Some((Distrust::Owner { owner: 0, expected: Owner::User(OTHER_USER) }, "chown 65534")),
        );
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        for mode in [0o664, 0o646, 0o622] {
            let expected = Some((Distrust::Writable { mode }, "chmod go-w"));
            check(Trust::ROOT, 0, mode, expected);
            check(Trust::ROOT_OR_SELF.secret(), 0, mode, expected);
        }
    }

    #[test]
    fn a_secret_is_closed_to_others_and_a_private_file_to_the_group_too() {
        let secret = Trust::ROOT_OR_SELF.secret();
        check(secret, 0, 0o640, None);
        check(secret, 0, 0o604, Some((Distrust::Open { mode: 0o604 }, "chmod o-rwx")));
        check(Trust::OWNER, OTHER_USER, 0o644, None);
        check(Trust::OWNER.private(), OTHER_USER, 0o600, None);
        check(
            Trust::OWNER.private(),
            OTHER_USER,
            0o640,
            Some((Distrust::Shared { mode: 0o640 }, "chmod go-rwx")),
        );
        check(Trust::OWNER.private(), 0, 0o602, Some((Distrust::Shared { mode: 0o602 }, "chmod go-rwx")));
    }

    #[test]
    fn a_program_has_to_be_executable() {
        check(Trust::ROOT.program(), 0, 0o755, None);
        check(Trust::ROOT.program(), 0, 0o644, Some((Distrust::NotExecutable, "chmod a+x")));
    }

    #[test]
    fn the_message_names_the_owner_or_the_mode() {
        let text = |why| Untrusted::new(Path::new("/x"), why).to_string();
        let owner = |expected| text(Distrust::Owner { owner: 7, expected });
        assert_eq!(owner(Owner::Root), "`/x` belongs to user 7, not to root");
        assert_eq!(owner(Owner::User(8)), "`/x` belongs to user 7, not to user 8");
        assert_eq!(
            owner(Owner::RootOrSelf),
            "`/x` belongs to user 7, who is neither root nor the user of this process"
        );
        assert_eq!(
            text(Distrust::Writable { mode: 0o666 }),
            "`/x` is writable by group or others (mode 0666)"
        );
    }
}
