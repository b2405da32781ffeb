//! Serves requests for a repository: git, and files of Git LFS.

mod git;
mod lfs;
mod repository_request;
mod served;
mod watch;

pub(crate) use git::GitService;
pub(crate) use lfs::{LfsAnswer, serve as serve_lfs};
pub(crate) use repository_request::{RepositoryRequest, repositories_of};
pub(crate) use served::Served;
