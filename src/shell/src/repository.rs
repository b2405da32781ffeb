//! Repositories below the root, opened by descriptor, so that git works in the folder that was checked.
//!
//! The kernel resolves every path beneath the root (openat2(2), Linux 5.6), so neither `..` nor a symbolic link leads out
//! of it, no matter who makes one, and when.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Repositories are readable by the login and its group only.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// The folder of all repositories.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// A path below a root: relative, not empty, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelativePath(PathBuf);

/// A repository's folder, which git works in.
#[derive(Debug)]
pub(crate) struct Repository(OwnedFd);

/// Why a repository cannot be opened or made.
#[derive(Debug, Error)]
pub(crate) enum RepositoryError {
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` leads out of the root", .0.display())]
    Escape(PathBuf),
}

impl RelativePath {
    /// `path` if it is such a path, or one below `root`.
    pub(crate) fn parse(path: &Path, root: &Path) -> Option<Self> {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let mut parts = relative.components();
        let is_clean =
            parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
        is_clean.then(|| Self(relative.components().collect()))
    }
}

impl Root {
    /// The folder `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, RepositoryError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// The repository at `path`, if there is one.
    pub(crate) fn repository(&self, path: &RelativePath) -> Result<Option<Repository>, RepositoryError> {
        match self.open_beneath(&path.0) {
            Ok(fd) => Ok(Some(Repository(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", &path.0, error)),
        }
    }

    /// Makes the repository at `path` by `initialize`, which is given an empty folder. It appears whole or not at all; of
    /// several sessions that make it at once one wins, and all of them get it.
    pub(crate) fn create<E: From<RepositoryError>>(
        &self,
        path: &RelativePath,
        initialize: impl FnOnce(&Repository) -> Result<(), E>,
    ) -> Result<Repository, E> {
        let parent = self.make_parents(&path.0)?;
        let temporary = temporary_name();
        let place = path.0.with_file_name(&temporary);
        rustix::fs::mkdirat(&parent, temporary.as_str(), DIRECTORY_MODE)
            .map_err(|error| self.failed("make", &place, error))?;
        let made = self
            .open_beneath(&place)
            .map_err(|error| self.failed("open", &place, error).into())
            .and_then(|made| initialize(&Repository(made)))
            .and_then(|()| self.put_in_place(&parent, &temporary, &path.0).map_err(E::from));
        if !matches!(made, Ok(true)) {
            // An incomplete repository is useless, and its name is never looked up.
            let _ = std::fs::remove_dir_all(self.path.join(&place));
        }
        made?;
        self.repository(path)?.ok_or_else(|| self.failed("open", &path.0, Errno::NOENT).into())
    }

    /// Gives the folder `temporary` in `parent` the last name of `path`; whether that was still free.
    fn put_in_place(&self, parent: &OwnedFd, temporary: &str, path: &Path) -> Result<bool, RepositoryError> {
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::renameat(parent, temporary, parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("make", path, error)),
        }
    }

    /// The folder that `path` is in, made as far as it is not there.
    fn make_parents(&self, path: &Path) -> Result<OwnedFd, RepositoryError> {
        let mut parent =
            self.open_beneath(Path::new(".")).map_err(|error| self.failed("open", path, error))?;
        let mut made = PathBuf::new();
        for part in path.parent().unwrap_or(Path::new("")) {
            self.make_directory(parent.as_fd(), Path::new(part))?;
            made.push(part);
            parent = self.open_beneath(&made).map_err(|error| self.failed("open", &made, error))?;
        }
        Ok(parent)
    }

    fn make_directory(&self, parent: BorrowedFd<'_>, name: &Path) -> Result<(), RepositoryError> {
        match rustix::fs::mkdirat(parent, name, DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("make", name, error)),
        }
    }

    fn open_beneath(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve)
    }

    fn failed(&self, what: &'static str, path: &Path, error: Errno) -> RepositoryError {
        failed(what, &self.path.join(path), error)
    }
}

impl Repository {
    /// Makes the repository this process's folder, and that of the processes it starts.
    pub(crate) fn enter(&self) -> Result<(), RepositoryError> {
        rustix::process::fchdir(&self.0).map_err(|error| failed("enter", Path::new("."), error))
    }

    /// Whether git would find a repository here: what every one has, and no folder of accounts.
    pub(crate) fn is_initialized(&self) -> bool {
        rustix::fs::statat(&self.0, "HEAD", AtFlags::empty()).is_ok()
    }
}

/// A name that no client can give, since a segment of a repository's name begins with no dot, and that no other
/// session takes, nor one on another host of the same file system.
fn temporary_name() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!(".new-{}-{}", std::process::id(), since.as_nanos())
}

fn failed(what: &'static str, path: &Path, error: Errno) -> RepositoryError {
    match error {
        Errno::XDEV => RepositoryError::Escape(path.to_owned()),
        error => RepositoryError::Io { what, path: path.to_owned(), source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        root: Root,
    }

    fn host() -> Host {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/acct_7/app.git")).unwrap();
        fs::create_dir_all(folder.path().join("outside/secret.git")).unwrap();
        let root = Root::open(&folder.path().join("root")).unwrap();
        Host { folder, root }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(Path::new(text), Path::new("/srv/git")).unwrap()
    }

    fn write_head(repository: &Repository) -> Result<(), RepositoryError> {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&repository.0, "HEAD", flags, DIRECTORY_MODE)
            .map(drop)
            .map_err(|error| failed("make", Path::new("HEAD"), error))
    }

    #[test]
    fn a_path_below_the_root_is_relative_and_clean() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = RelativePath::parse(Path::new(text), Path::new("/srv/git"));
            assert_eq!(parsed.map(|path| path.0), expected.map(PathBuf::from), "{text}");
        };
        check("acct_7/app.git", Some("acct_7/app.git"));
        check("/srv/git/acct_7/app.git", Some("acct_7/app.git"));
        check("a//b/", Some("a/b"));
        for text in ["", ".", "/", "/srv/git", "/srv/git2/a", "/etc", "..", "a/../b", "./a", "/srv/git/../x"]
        {
            check(text, None);
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let Host { folder, root } = host();
        let link =
            |target: &Path, name: &str| symlink(target, folder.path().join("root").join(name)).unwrap();
        link(&folder.path().join("outside"), "absolute");
        link(Path::new("../outside"), "relative");
        link(Path::new("acct_7"), "inside");
        assert!(root.repository(&path("acct_7/app.git")).unwrap().is_some());
        assert!(root.repository(&path("inside/app.git")).unwrap().is_some());
        assert!(root.repository(&path("acct_7/none.git")).unwrap().is_none());
        for escape in ["absolute/secret.git", "relative/secret.git"] {
            let error = root.repository(&path(escape)).unwrap_err();
            assert!(matches!(error, RepositoryError::Escape(_)), "{escape}: {error}");
        }
        let error = root.create(&path("relative/new.git"), write_head).unwrap_err();
        assert!(matches!(error, RepositoryError::Escape(_)), "{error}");
        assert!(!folder.path().join("outside/new.git").exists());
    }

    #[test]
    fn a_repository_appears_whole_or_not_at_all() {
        let Host { folder, root } = host();
        let account = folder.path().join("root/acct_8");
        let refused = root.create(&path("acct_8/app.git"), |_| Err(RepositoryError::Escape(PathBuf::new())));
        assert!(refused.is_err());
        assert_eq!(fs::read_dir(&account).unwrap().count(), 0);
        assert!(root.create(&path("acct_8/app.git"), write_head).unwrap().is_initialized());
        assert_eq!(fs::read_dir(&account).unwrap().count(), 1);
        let mode = fs::metadata(account.join("app.git")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }

    #[test]
    fn of_two_that_create_a_repository_the_second_gets_the_first_ones() {
        let Host { folder, root } = host();
        let second = root.create(&path("acct_8/app.git"), |made| {
            write_head(made)?;
            let first = folder.path().join("root/acct_8/app.git");
            fs::create_dir(&first).unwrap();
            fs::write(first.join("HEAD"), "the first's").unwrap();
            Ok::<_, RepositoryError>(())
        });
        assert!(second.unwrap().is_initialized());
        let account = folder.path().join("root/acct_8");
        assert_eq!(fs::read_to_string(account.join("app.git/HEAD")).unwrap(), "the first's");
        assert_eq!(fs::read_dir(&account).unwrap().count(), 1, "nothing of the second's is left");
    }
}
