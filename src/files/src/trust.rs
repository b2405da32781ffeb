//! Who may have written a file, and who may read it.

use std::path::Path;

use rustix::fs::Stat;

use crate::error::{Distrust, Owner, Untrusted};

/// Where the write bits of group and others are.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Where the bits of others are.
const OPEN_TO_EVERYBODY: u32 = 0o007;
/// Where the bits of group and others are.
const OPEN_TO_OTHERS: u32 = 0o077;
const EXECUTABLE_BY_ANYBODY: u32 = 0o111;
const PERMISSIONS: u32 = 0o7777;

/// What is asked of a file before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    owner: Owner,
    readers: Readers,
    is_program: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    Everybody,
    OwnerAndGroup,
    Owner,
}

impl Trust {
    /// Nobody but root can have written it.
    pub const ROOT: Self = Self::owned_by(Owner::Root);
    /// Nobody but root and the user of this process can have written it.
    pub const ROOT_OR_SELF: Self = Self::owned_by(Owner::RootOrSelf);
    /// Nobody but its owner can have written it. Whoever that is: a command that root runs uses files of the service's user.
    pub const OWNER: Self = Self::owned_by(Owner::Any);

    const fn owned_by(owner: Owner) -> Self {
        Self { owner, readers: Readers::Everybody, is_program: false }
    }

    /// Nobody but the user with the number `user` can have written it.
    #[must_use]
    pub const fn user(user: u32) -> Self {
        Self::owned_by(Owner::User(user))
    }

    /// And it holds a secret, which not everybody can have read; a group may.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { readers: Readers::OwnerAndGroup, ..self }
    }

    /// And nobody but its owner can have read it.
    #[must_use]
    pub const fn private(self) -> Self {
        Self { readers: Readers::Owner, ..self }
    }

    /// And it can be run.
    #[must_use]
    pub const fn program(self) -> Self {
        Self { is_program: true, ..self }
    }

    /// Whether `stat`, which is of `path`, is as it should be. Only owner and mode are looked at.
    pub fn check(self, path: &Path, stat: &Stat) -> Result<(), Untrusted> {
        self.distrust(stat).map_or(Ok(()), |why| Err(Untrusted::new(path, why)))
    }

    fn distrust(self, stat: &Stat) -> Option<Distrust> {
        let (owner, mode) = (stat.st_uid, stat.st_mode & PERMISSIONS);
        let is_owner_right = match self.owner {
            Owner::Any => true,
            Owner::Root => owner == 0,
            Owner::RootOrSelf => owner == 0 || owner == rustix::process::geteuid().as_raw(),
            Owner::User(user) => owner == user,
        };
        if !is_owner_right {
            Some(Distrust::Owner { owner, expected: self.owner })
        } else if self.readers == Readers::Owner && mode & OPEN_TO_OTHERS != 0 {
            Some(Distrust::Shared { mode })
        } else if mode & WRITABLE_BY_OTHERS != 0 {
            Some(Distrust::Writable { mode })
        } else if self.readers == Readers::OwnerAndGroup && mode & OPEN_TO_EVERYBODY != 0 {
            Some(Distrust::Open { mode })
        } else if self.is_program && mode & EXECUTABLE_BY_ANYBODY == 0 {
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

    const NOBODY: u32 = 65534;

    /// Checks what is wrong with a file with `owner` and `mode`. Needs root, as the whole suite does.
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
    fn an_owner_who_may_not_decide_is_refused() {
        let owner = |expected| Distrust::Owner { owner: NOBODY, expected };
        check(Trust::ROOT, 0, 0o644, None);
        check(Trust::ROOT, NOBODY, 0o644, Some((owner(Owner::Root), "chown root")));
        check(Trust::ROOT_OR_SELF, 0, 0o644, None);
        check(Trust::ROOT_OR_SELF, NOBODY, 0o644, Some((owner(Owner::RootOrSelf), "chown root")));
        check(Trust::user(NOBODY), NOBODY, 0o644, None);
        check(Trust::user(7), NOBODY, 0o644, Some((owner(Owner::User(7)), "chown 7")));
        check(
            Trust::user(NOBODY),
            0,
            0o644,
            Some((Distrust::Owner { owner: 0, expected: Owner::User(NOBODY) }, "chown 65534")),
        );
    }

    #[test]
    fn what_others_can_write_is_refused() {
        for mode in [0o664, 0o646, 0o622] {
            let expected = Some((Distrust::Writable { mode }, "chmod go-w"));
            check(Trust::ROOT, 0, mode, expected);
            check(Trust::ROOT_OR_SELF.secret(), 0, mode, expected);
        }
    }

    #[test]
    fn a_secret_is_not_open_to_everybody_and_what_is_private_to_nobody_else() {
        let secret = Trust::ROOT_OR_SELF.secret();
        check(secret, 0, 0o640, None);
        check(secret, 0, 0o604, Some((Distrust::Open { mode: 0o604 }, "chmod o-rwx")));
        check(Trust::OWNER, NOBODY, 0o644, None);
        check(Trust::OWNER.private(), NOBODY, 0o600, None);
        check(
            Trust::OWNER.private(),
            NOBODY,
            0o640,
            Some((Distrust::Shared { mode: 0o640 }, "chmod go-rwx")),
        );
        check(Trust::OWNER.private(), 0, 0o602, Some((Distrust::Shared { mode: 0o602 }, "chmod go-rwx")));
    }

    #[test]
    fn a_program_can_be_run() {
        check(Trust::ROOT.program(), 0, 0o755, None);
        check(Trust::ROOT.program(), 0, 0o644, Some((Distrust::NotExecutable, "chmod a+x")));
    }

    #[test]
    fn the_message_says_whose_it_is_or_its_mode() {
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
