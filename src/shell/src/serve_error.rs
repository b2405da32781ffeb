//! Why git cannot be served to a client that may have it, which is for the host's operator to fix.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use thiserror::Error;

use crate::lfs_token::LfsKeyError;
use crate::process::program::ProgramError;
use crate::repository::RepositoryError;
use crate::settings::SettingsError;
use crate::trusted::Untrusted;

/// Why git cannot be served, which is the host's fault.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("`{}` is no path below `{}`", path.display(), root.display())]
    Path { path: PathBuf, root: PathBuf },
    #[error("cannot make a repository")]
    Initialize(#[from] ProgramError),
    #[error("`git init` ended with {0}")]
    Initialized(ExitStatus),
    #[error("cannot deploy")]
    Deploy(#[from] Untrusted),
    #[error("cannot sign a token for the LFS server")]
    LfsKey(#[source] LfsKeyError),
    #[error("cannot run git")]
    Run(#[source] io::Error),
}
