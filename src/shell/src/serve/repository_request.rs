//! A request for one repository: checks access, and opens or creates it.

use pushkeys_keys::AccountId;
use rustix::fs::Mode;

use crate::arguments::Arguments;
use crate::authorize::{self, Decision};
use crate::identity::Identity;
use crate::initialize;
use crate::push::Push;
use crate::refusal::Refusal;
use crate::remote::RemoteHost;
use crate::repository::{RelativePath, Repository, RepositoryError, Root};
use crate::request::{Access, RepositoryName};
use crate::serve_error::ServeError;
use crate::sessions::{self, SessionSlot};
use crate::settings::{Create, Locate, Settings};

/// New files are for the login and its group.
const UMASK: Mode = Mode::from_raw_mode(0o027);

/// A request for a repository, after the session's key was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RepositoryRequest<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) identity: &'a Identity,
    pub(crate) settings: &'a Settings,
    pub(crate) remote: &'a RemoteHost,
    pub(crate) repository: &'a RepositoryName,
    pub(crate) access: Access,
}

/// The location of the requested repository, which may not exist, and the session's slot.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) root: Root,
    pub(crate) path: RelativePath,
    _slot: Option<SessionSlot>,
}

impl RepositoryRequest<'_> {
    /// Where the repository is, if the account has access and a free session.
    pub(crate) fn location(&self) -> Result<Location, Refusal> {
        rustix::process::umask(UMASK);
        let path = self.path()?;
        let root = Root::open(&self.settings.root).map_err(cannot_serve)?;
        let slot = self.slot(&root)?;
        Ok(Location { root, path, _slot: slot })
    }

    /// The description of the request for the programs that serve it.
    pub(crate) fn push(&self, location: &Location) -> Push {
        let Self { arguments, identity, remote, repository, .. } = *self;
        Push {
            identity: identity.clone(),
            repository: repository.clone(),
            path: location.path.as_path().to_owned(),
            url: remote.url(&identity.login, repository),
            config: arguments.settings.clone(),
            cache: arguments.cache.clone(),
        }
    }

    /// Removes `repository` if it was created for this session and nothing was stored in it.
    pub(crate) fn close(&self, location: &Location, repository: &Repository) {
        if self.access == Access::Write {
            // If this fails, it stays invisible to readers.
            let _ = location.root.discard(&location.path, repository, |_| initialize::is_empty());
        }
    }

    fn slot(&self, root: &Root) -> Result<Option<SessionSlot>, Refusal> {
        let Some(max) = self.settings.limits.sessions else { return Ok(None) };
        match sessions::take(root, &self.identity.account, max).map_err(cannot_serve)? {
            Some(slot) => Ok(Some(slot)),
            None => Err(Refusal::TooManySessions { account: self.identity.account().to_owned(), max }),
        }
    }

    /// Opens the repository. For a session that writes, it is created if the settings allow that.
    pub(crate) fn open(&self, location: &Location) -> Result<Repository, Refusal> {
        let Self { settings, identity, repository, access, .. } = *self;
        let failed = |error| match error {
            ServeError::Repository(RepositoryError::Nested(_)) => Refusal::Nested(repository.clone()),
            ServeError::Repository(RepositoryError::Occupied(_)) => Refusal::Folder(repository.clone()),
            error => Refusal::CannotServe(error),
        };
        if let Some(repository) =
            location.root.repository(&location.path).map_err(|error| failed(error.into()))?
        {
            return Ok(repository);
        }
        let repository = repository.clone();
        if access == Access::Write && settings.create == Create::FirstPush {
            let account = identity.account();
            if let Some(max) = settings.limits.repositories
                && repositories_of(&location.root, settings, &identity.account, max as usize).len()
                    >= max as usize
            {
                return Err(Refusal::TooManyRepositories { repository, account: account.to_owned(), max });
            }
            return location.root.repository_to_write(&location.path, initialize::repository).map_err(failed);
        }
        let is_by_account =
            matches!(&settings.locate, Locate::Template(template) if template.is_by_account());
        let owner = if is_by_account { format!("{} has", identity.account()) } else { "there is".to_owned() };
        Err(Refusal::NoRepository { repository, owner, access })
    }

    /// Where the repository is, if the account has access.
    fn path(&self) -> Result<RelativePath, Refusal> {
        let Self { settings, arguments, identity, repository, access, .. } = *self;
        let path = match &settings.locate {
            Locate::Template(template) => template.expand(&identity.account, repository),
            Locate::Program { path, limit } => {
                match authorize::ask(path, *limit, arguments, repository, access) {
                    Ok(Decision::Yes(path)) => path,
                    Ok(Decision::No(reason)) => {
                        let (repository, account) = (repository.clone(), identity.account().to_owned());
                        return Err(Refusal::NotAllowed { repository, account, access, reason });
                    }
                    Err(source) => {
                        return Err(Refusal::NotDecided { repository: repository.clone(), access, source });
                    }
                }
            }
        };
        RelativePath::parse(&path, &settings.root)
            .ok_or_else(|| cannot_serve(ServeError::Path { path, root: settings.root.clone() }))
    }
}

/// The names of the repositories of `account`, up to `count_max`, if the settings derive their paths from the account.
pub(crate) fn repositories_of(
    root: &Root,
    settings: &Settings,
    account: &AccountId,
    count_max: usize,
) -> Vec<RepositoryName> {
    let Locate::Template(template) = &settings.locate else { return Vec::new() };
    let Some(folder) = template.account_folder(account) else { return Vec::new() };
    let paths = root.repositories_below(&folder, count_max);
    paths.iter().filter_map(|path| template.name_of(account, path)).collect()
}

/// The refusal for a client when this host fails with `error`.
pub(crate) fn cannot_serve<E: Into<ServeError>>(error: E) -> Refusal {
    Refusal::CannotServe(error.into())
}
