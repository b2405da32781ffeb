//! Repositories below the root, opened by file descriptor, so that git runs in the folder that was checked.
//!
//! The kernel resolves every path beneath the root (openat2(2), Linux 5.6), so neither `..` nor a symbolic link leads out
//! of it, even if it is created concurrently.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags, flock};
use rustix::io::Errno;
use thiserror::Error;

/// Repositories are readable by the login and its group only.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// The file that marks a repository as provisional: created for a push that may still be refused.
const PROVISIONAL: &str = "pushkeys.provisional";
/// The folder in the root for this program's own files.
const OWN_FOLDER: &str = ".pushkeys";
/// How often a session retries when other sessions discard the repository.
const ATTEMPTS_MAX: usize = 64;
/// The maximum depth of the search for repositories, and of entries per folder. Names have two segments.
const DEPTH_MAX: usize = 2;
const FOLDER_ENTRIES_MAX: usize = 10_000;

/// The folder of all repositories.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// A path below a root: relative, not empty, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelativePath(PathBuf);

/// An open folder of a repository.
#[derive(Debug)]
pub(crate) struct Repository {
    fd: OwnedFd,
    /// Prevents the removal of a provisional repository while this process or one that it started uses it.
    _lock: Option<OwnedFd>,
}

/// Why a repository cannot be opened or created.
#[derive(Debug, Error)]
pub(crate) enum RepositoryError {
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` leads out of the root", .0.display())]
    Escape(PathBuf),
    #[error("`{}` is not a repository, and not empty", .0.display())]
    Occupied(PathBuf),
    #[error("`{}` is a repository itself, so it cannot contain another", .0.display())]
    Nested(PathBuf),
    #[error("`{}` is repeatedly created and discarded by other sessions", .0.display())]
    Contended(PathBuf),
}

impl RelativePath {
    /// `path`, relative to `root` if it is absolute.
    pub(crate) fn parse(path: &Path, root: &Path) -> Option<Self> {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let mut parts = relative.components();
        let is_accepted = |part| matches!(part, Component::Normal(name) if name != OWN_FOLDER);
        let is_clean = parts.clone().next().is_some() && parts.all(is_accepted);
        is_clean.then(|| Self(relative.components().collect()))
    }
}

impl RelativePath {
    /// The path.
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Root {
    /// Opens the folder `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, RepositoryError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// The repository at `path`, if it exists and is not provisional.
    pub(crate) fn repository(&self, path: &RelativePath) -> Result<Option<Repository>, RepositoryError> {
        let Some(repository) = self.at(path)?.filter(|repository| !repository.is_provisional()) else {
            return Ok(None);
        };
        Ok(self.is_at(path, &repository)?.then_some(repository))
    }

    /// The repository at `path` for a session that writes to it. If it does not exist, `initialize` gets an empty folder and
    /// creates it there: provisionally, until [`confirm`].
    ///
    /// It appears atomically. If several sessions create it concurrently, one succeeds and all get the same repository.
    pub(crate) fn repository_to_write<E: From<RepositoryError>>(
        &self,
        path: &RelativePath,
        initialize: impl Fn(&Repository) -> Result<(), E>,
    ) -> Result<Repository, E> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(repository) = self.at(path)? else {
                self.create(path, &initialize)?;
                continue;
            };
            let repository = if repository.is_provisional() {
                repository.locked().map_err(|error| self.failed("lock", &path.0, error))?
            } else {
                repository
            };
            if self.is_at(path, &repository)? {
                return Ok(repository);
            }
        }
        Err(RepositoryError::Contended(self.path.join(&path.0)).into())
    }

    /// Removes the repository at `path` if it is provisional, `is_empty`, and no other session uses it.
    pub(crate) fn discard<E: From<RepositoryError>>(
        &self,
        path: &RelativePath,
        repository: &Repository,
        is_empty: impl FnOnce(&Repository) -> Result<bool, E>,
    ) -> Result<(), E> {
        let failed = |error| self.failed("remove", &path.0, error);
        if !repository.is_provisional() {
            return Ok(());
        }
        // Only the last session gets the exclusive lock, since each releases its own lock first.
        flock(&repository.fd, FlockOperation::Unlock).map_err(failed)?;
        if flock(&repository.fd, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        if !repository.is_provisional() || !is_empty(repository)? {
            return Ok(());
        }
        if !self.is_at(path, repository)? {
            return Ok(());
        }
        let (temporary, name) = (temporary_name(), path.0.file_name().unwrap_or_default());
        let parent = path.0.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = self.open_beneath(parent.unwrap_or(Path::new("."))).map_err(failed)?;
        rustix::fs::renameat(&parent, name, &parent, temporary.as_str()).map_err(failed)?;
        let place = self.path.join(path.0.with_file_name(temporary));
        std::fs::remove_dir_all(&place)
            .map_err(|source| RepositoryError::Io { what: "remove", path: place, source }.into())
    }

    /// The folder `name` of this program's own files in the root, which no client can name.
    pub(crate) fn own_folder(&self, name: &Path) -> Result<OwnedFd, RepositoryError> {
        self.make_folders(&Path::new(OWN_FOLDER).join(name))
    }

    /// The paths of the repositories below `folder`, up to `count_max` of them.
    pub(crate) fn repositories_below(&self, folder: &Path, count_max: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![(folder.to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(self.path.join(&folder)) else { continue };
            for entry in entries.flatten().take(FOLDER_ENTRIES_MAX) {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if !is_folder || entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let path = folder.join(entry.file_name());
                match self.open_beneath(&path).map(Repository::new) {
                    Ok(repository) if repository.is_initialized() => {
                        if found.len() >= count_max {
                            return found;
                        }
                        if !repository.is_provisional() {
                            found.push(path);
                        }
                    }
                    Ok(_) if depth + 1 < DEPTH_MAX => folders.push((path, depth + 1)),
                    _ => {}
                }
            }
        }
        found.sort();
        found
    }

    /// The repository at `path`, provisional or not.
    fn at(&self, path: &RelativePath) -> Result<Option<Repository>, RepositoryError> {
        for outer in path.0.ancestors().skip(1).filter(|outer| !outer.as_os_str().is_empty()) {
            if self.open_beneath(outer).is_ok_and(|fd| Repository::new(fd).is_initialized()) {
                return Err(RepositoryError::Nested(self.path.join(outer)));
            }
        }
        match self.open_beneath(&path.0).map(Repository::new) {
            Ok(repository) if repository.is_initialized() => Ok(Some(repository)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", &path.0, error)),
        }
    }

    fn create<E: From<RepositoryError>>(
        &self,
        path: &RelativePath,
        initialize: impl Fn(&Repository) -> Result<(), E>,
    ) -> Result<(), E> {
        let parent = self.make_folders(path.0.parent().unwrap_or(Path::new("")))?;
        let temporary = temporary_name();
        let place = path.0.with_file_name(&temporary);
        rustix::fs::mkdirat(&parent, temporary.as_str(), DIRECTORY_MODE)
            .map_err(|error| self.failed("make", &place, error))?;
        let made = self
            .open_beneath(&place)
            .map(Repository::new)
            .map_err(|error| self.failed("open", &place, error).into())
            .and_then(|made| {
                initialize(&made)?;
                made.mark().map_err(|error| self.failed("mark", &place, error).into())
            })
            .and_then(|()| self.put_in_place(&parent, &temporary, &path.0).map_err(E::from));
        if !matches!(made, Ok(true)) {
            // An incomplete repository is useless, and no session opens its temporary name.
            let _ = std::fs::remove_dir_all(self.path.join(&place));
        }
        match made {
            // It may be another session's repository by now.
            Ok(false) if self.is_other_folder(path) => {
                Err(RepositoryError::Occupied(self.path.join(&path.0)).into())
            }
            made => made.map(|_| ()),
        }
    }

    /// Whether `repository` is still at `path`. Another session that discards it moves it away before it removes its files, also
    /// the mark of a provisional one, so what was read of the repository is valid if this is true afterwards.
    fn is_at(&self, path: &RelativePath, repository: &Repository) -> Result<bool, RepositoryError> {
        Ok(self.at(path)?.is_some_and(|now| now.is_same(repository)))
    }

    /// Whether there is a folder at `path` that is not a repository.
    fn is_other_folder(&self, path: &RelativePath) -> bool {
        self.open_beneath(&path.0).map(Repository::new).is_ok_and(|folder| !folder.is_initialized())
    }

    /// Renames the folder `temporary` in `parent` to the last segment of `path`; false if that exists.
    fn put_in_place(&self, parent: &OwnedFd, temporary: &str, path: &Path) -> Result<bool, RepositoryError> {
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::renameat(parent, temporary, parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("make", path, error)),
        }
    }

    /// The folder `path`, created as far as necessary.
    fn make_folders(&self, path: &Path) -> Result<OwnedFd, RepositoryError> {
        let mut folder =
            self.open_beneath(Path::new(".")).map_err(|error| self.failed("open", path, error))?;
        let mut made = PathBuf::new();
        for part in path {
            self.make_directory(folder.as_fd(), Path::new(part))?;
            made.push(part);
            folder = self.open_beneath(&made).map_err(|error| self.failed("open", &made, error))?;
        }
        Ok(folder)
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

    pub(crate) fn failed(&self, what: &'static str, path: &Path, error: Errno) -> RepositoryError {
        failed(what, &self.path.join(path), error)
    }
}

impl Repository {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, _lock: None }
    }

    /// Makes the repository the current folder of this process and its future children.
    pub(crate) fn enter(&self) -> Result<(), RepositoryError> {
        rustix::process::fchdir(&self.fd).map_err(|error| failed("enter", Path::new("."), error))
    }

    /// Whether the file or folder `name` is in the repository.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether the folder is a repository: every repository has `HEAD`, and no folder of an account does.
    fn is_initialized(&self) -> bool {
        self.has("HEAD")
    }

    /// Whether nothing has been pushed to it yet. Readers do not see it.
    fn is_provisional(&self) -> bool {
        self.has(PROVISIONAL)
    }

    fn mark(&self) -> rustix::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, PROVISIONAL, flags, FILE_MODE).map(drop)
    }

    /// The repository with a shared lock. Waits while another session discards it.
    fn locked(self) -> rustix::io::Result<Self> {
        flock(&self.fd, FlockOperation::LockShared)?;
        // git inherits this descriptor, and the lock with it.
        let lock = rustix::io::dup(&self.fd)?;
        Ok(Self { fd: self.fd, _lock: Some(lock) })
    }

    fn is_same(&self, other: &Self) -> bool {
        let identity = |one: &Self| rustix::fs::fstat(&one.fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        identity(self).is_some_and(|own| identity(other) == Some(own))
    }
}

/// Makes the provisional repository in the current folder visible to readers. Returns whether it was provisional.
pub(crate) fn confirm() -> io::Result<bool> {
    match std::fs::remove_file(PROVISIONAL) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the repository in the current folder is provisional.
pub(crate) fn is_provisional() -> bool {
    Path::new(PROVISIONAL).exists()
}

/// A name that no client can use, since it begins with a dot, and that no other session takes, not even on another host of
/// the same file system.
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
        fs::write(folder.path().join("root/acct_7/app.git/HEAD"), "").unwrap();
        fs::create_dir_all(folder.path().join("outside/secret.git")).unwrap();
        let root = Root::open(&folder.path().join("root")).unwrap();
        Host { folder, root }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(Path::new(text), Path::new("/srv/git")).unwrap()
    }

    fn write_head(repository: &Repository) -> Result<(), RepositoryError> {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&repository.fd, "HEAD", flags, FILE_MODE)
            .map(drop)
            .map_err(|error| failed("make", Path::new("HEAD"), error))
    }

    #[test]
    fn a_path_below_the_root_is_relative_and_normalized() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = RelativePath::parse(Path::new(text), Path::new("/srv/git"));
            assert_eq!(parsed.map(|path| path.0), expected.map(PathBuf::from), "{text}");
        };
        check("acct_7/app.git", Some("acct_7/app.git"));
        check("/srv/git/acct_7/app.git", Some("acct_7/app.git"));
        check("a//b/", Some("a/b"));
        for text in [
            "",
            ".",
            "/",
            "/srv/git",
            "/srv/git2/a",
            "/etc",
            "..",
            "a/../b",
            "./a",
            "/srv/git/../x",
            ".pushkeys/x",
        ] {
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
        let error = root.repository_to_write(&path("relative/new.git"), write_head).unwrap_err();
        assert!(matches!(error, RepositoryError::Escape(_)), "{error}");
        assert!(!folder.path().join("outside/new.git").exists());
    }

    #[test]
    fn a_repository_is_created_atomically() {
        let Host { folder, root } = host();
        let account = folder.path().join("root/acct_8");
        let refused = root
            .repository_to_write(&path("acct_8/app.git"), |_| Err(RepositoryError::Escape(PathBuf::new())));
        assert!(refused.is_err());
        assert_eq!(fs::read_dir(&account).unwrap().count(), 0);
        assert!(root.repository_to_write(&path("acct_8/app.git"), write_head).unwrap().is_initialized());
        assert_eq!(fs::read_dir(&account).unwrap().count(), 1);
        let mode = fs::metadata(account.join("app.git")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }

    #[test]
    fn of_two_sessions_that_create_a_repository_the_second_gets_the_firsts() {
        let Host { folder, root } = host();
        let second = root.repository_to_write(&path("acct_8/app.git"), |made| {
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

    #[test]
    fn a_provisional_repository_is_visible_only_to_writers_and_discarded_by_the_last() {
        let Host { folder, root } = host();
        let (new, place) = (path("acct_8/app.git"), folder.path().join("root/acct_8/app.git"));
        let open = || root.repository_to_write(&new, write_head).unwrap();
        let discard = |repository: Repository, is_empty| {
            root.discard(&new, &repository, |_| Ok::<_, RepositoryError>(is_empty)).unwrap();
        };
        let (first, second) = (open(), open());
        assert!(first.is_same(&second));
        assert!(root.repository(&new).unwrap().is_none());
        discard(first, true);
        assert!(place.exists(), "another session is in it");
        discard(second, false);
        assert!(place.exists(), "it is not empty");
        discard(open(), true);
        assert!(!place.exists());
        let confirmed = open();
        fs::remove_file(place.join(PROVISIONAL)).unwrap();
        discard(confirmed, true);
        assert!(root.repository(&new).unwrap().is_some(), "it is visible to readers");
        assert_eq!(fs::read_dir(folder.path().join("root/acct_8")).unwrap().count(), 1);
    }

    #[test]
    fn a_session_whose_repository_is_discarded_by_another_gets_a_new_one() {
        let Host { root, folder: _folder } = host();
        let new = path("acct_8/app.git");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let repository = root.repository_to_write(&new, write_head).unwrap();
                        let now = root.at(&new).unwrap();
                        assert!(
                            now.is_some_and(|now| now.is_same(&repository)),
                            "it is not discarded meanwhile"
                        );
                        root.discard(&new, &repository, |_| Ok::<_, RepositoryError>(true)).unwrap();
                    }
                });
            }
        });
        assert!(root.at(&new).unwrap().is_none());
    }

    #[test]
    fn no_repository_is_inside_another() {
        let Host { root, folder: _folder } = host();
        let nested = path("acct_7/app.git/inner");
        assert!(matches!(root.repository(&nested), Err(RepositoryError::Nested(_))));
        let error = root.repository_to_write(&nested, write_head).unwrap_err();
        assert!(matches!(error, RepositoryError::Nested(_)), "{error}");
        let error = root.repository_to_write(&path("acct_7"), write_head).unwrap_err();
        assert!(matches!(error, RepositoryError::Occupied(_)), "{error}");
    }

    #[test]
    fn provisional_repositories_are_not_listed() {
        let Host { folder, root } = host();
        fs::remove_dir_all(folder.path().join("root/acct_7/app.git")).unwrap();
        for name in ["acct_7/b.git", "acct_7/team/a.git", "acct_7/x/y/deep.git"] {
            fs::create_dir_all(folder.path().join("root").join(name)).unwrap();
            fs::write(folder.path().join("root").join(name).join("HEAD"), "").unwrap();
        }
        let _new = root.repository_to_write(&path("acct_7/new.git"), write_head).unwrap();
        let listed = |count| root.repositories_below(Path::new("acct_7"), count);
        assert_eq!(listed(9), [PathBuf::from("acct_7/b.git"), PathBuf::from("acct_7/team/a.git")]);
        assert_eq!(listed(1).len(), 1);
        assert!(root.repositories_below(Path::new("acct_9"), 9).is_empty());
    }
}
