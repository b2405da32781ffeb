//! Repositories below the root, opened by descriptor, so that git works in the folder that was checked.
//!
//! The kernel resolves every path beneath the root (openat2(2), Linux 5.6), so neither `..` nor a symbolic link leads out
//! of it, no matter who makes one, and when.

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
/// The file that marks a repository as provisional: made for a push that may yet be refused.
const PROVISIONAL: &str = "pushkeys.provisional";
/// The folder of this program's own files in the root.
const OWN_FOLDER: &str = ".pushkeys";
/// How often a repository can be discarded by others before a session gives up.
const ATTEMPTS_MAX: usize = 64;
/// The deepest folders that are searched for repositories, and the most entries of one: names have two segments.
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

/// A repository's folder, which git works in.
#[derive(Debug)]
pub(crate) struct Repository {
    fd: OwnedFd,
    /// Keeps a provisional repository for as long as this process or one that it has started is in it.
    _lock: Option<OwnedFd>,
}

/// Why a repository cannot be opened or made.
#[derive(Debug, Error)]
pub(crate) enum RepositoryError {
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` leads out of the root", .0.display())]
    Escape(PathBuf),
    #[error("`{}` is no repository, and not empty", .0.display())]
    Occupied(PathBuf),
    #[error("`{}` is a repository itself, so no other can be in it", .0.display())]
    Nested(PathBuf),
    #[error("`{}` is created and discarded by other sessions all the time", .0.display())]
    Contended(PathBuf),
}

impl RelativePath {
    /// `path` if it is such a path, or one below `root`.
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
    /// The folder `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, RepositoryError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// The repository at `path`, if there is one that holds something.
    pub(crate) fn repository(&self, path: &RelativePath) -> Result<Option<Repository>, RepositoryError> {
        let Some(repository) = self.at(path)?.filter(|repository| !repository.is_provisional()) else {
            return Ok(None);
        };
        Ok(self.is_at(path, &repository)?.then_some(repository))
    }

    /// The repository at `path` for a session that writes to it. One that is not there is made by `initialize`, which is
    /// given an empty folder: provisionally, until [`Repository::confirm`].
    ///
    /// It appears whole or not at all. Of several sessions that make it at once one succeeds, and all of them get it.
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

    /// Removes the repository at `path` if it is provisional and `is_empty`, and no other session is in it.
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
        // Only the last session in it gets the exclusive lock, since each gives up its own first.
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

    /// A folder for this program's own files in the root, which no client can name.
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

    /// What is at `path`, if it is a repository.
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
            // An incomplete repository is useless, and its name is never looked up.
            let _ = std::fs::remove_dir_all(self.path.join(&place));
        }
        match made {
            // It may be another session's repository by now, or have been one.
            Ok(false) if self.is_other_folder(path) => {
                Err(RepositoryError::Occupied(self.path.join(&path.0)).into())
            }
            made => made.map(|_| ()),
        }
    }

    /// Whether `repository` is still at `path`. One that another session discards is moved away before its files are removed,
    /// the mark of a provisional one among them; so what is seen of a repository counts if this is true afterwards.
    fn is_at(&self, path: &RelativePath, repository: &Repository) -> Result<bool, RepositoryError> {
        Ok(self.at(path)?.is_some_and(|now| now.is_same(repository)))
    }

    /// Whether there is a folder at `path` that is no repository.
    fn is_other_folder(&self, path: &RelativePath) -> bool {
        self.open_beneath(&path.0).map(Repository::new).is_ok_and(|folder| !folder.is_initialized())
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

    /// The folder `path`, made as far as it is not there.
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

    /// Makes the repository this process's folder, and that of the processes it starts.
    pub(crate) fn enter(&self) -> Result<(), RepositoryError> {
        rustix::process::fchdir(&self.fd).map_err(|error| failed("enter", Path::new("."), error))
    }

    /// Whether the file or folder `name` is in the repository.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether git would find a repository here: what every one has, and no folder of accounts.
    fn is_initialized(&self) -> bool {
        self.has("HEAD")
    }

    /// Whether nothing has been pushed to it yet. To readers it does not exist.
    fn is_provisional(&self) -> bool {
        self.has(PROVISIONAL)
    }

    fn mark(&self) -> rustix::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, PROVISIONAL, flags, FILE_MODE).map(drop)
    }

    /// The repository with a lock that it shares with other sessions. Waits while another session discards it.
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

/// Turns the repository in this process's folder from a provisional one to one that exists for everybody. Returns
/// whether it was provisional.
pub(crate) fn confirm() -> io::Result<bool> {
    match std::fs::remove_file(PROVISIONAL) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the repository in this process's folder is provisional.
pub(crate) fn is_provisional() -> bool {
    Path::new(PROVISIONAL).exists()
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
    fn a_path_below_the_root_is_relative_and_clean() {
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
    fn a_repository_appears_whole_or_not_at_all() {
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
    fn of_two_that_create_a_repository_the_second_gets_the_first_ones() {
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
    fn a_provisional_repository_exists_for_writers_alone_and_the_last_of_them_discards_it() {
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
        assert!(root.repository(&new).unwrap().is_some(), "it exists for everybody");
        assert_eq!(fs::read_dir(folder.path().join("root/acct_8")).unwrap().count(), 1);
    }

    #[test]
    fn a_session_that_loses_its_repository_to_one_that_discards_it_gets_another() {
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
                            "nobody discards it meanwhile"
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
    fn repositories_are_listed_but_for_provisional_ones() {
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
