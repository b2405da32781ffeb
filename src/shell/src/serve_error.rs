//! Errors of the host that prevent it from serving git. The operator has to fix them.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use pushkeys_files::ReadFileError;
use thiserror::Error;

use crate::lfs_token::LfsKeyError;
use crate::process::program::ProgramError;
use crate::repository::RepositoryError;
use crate::settings::SettingsError;

/// Why this host cannot serve git.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("`{}` is not a path below `{}`", path.display(), root.display())]
    Path { path: PathBuf, root: PathBuf },
    #[error("cannot create a repository")]
    Initialize(#[from] ProgramError),
    #[error("`git init` ended with {0}")]
    Initialized(ExitStatus),
    #[error("cannot deploy")]
    Deploy(#[from] ReadFileError),
    #[error("cannot sign a token for the LFS server")]
    LfsKey(#[source] LfsKeyError),
    #[error("cannot run git")]
    Run(#[source] io::Error),
}
