//! Serves git: push, clone, fetch and archive.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use pushkeys_files::{Trust, check_program};

use super::repository_request::{Location, RepositoryRequest, cannot_serve};
use super::served::Served;
use super::watch::IdleWatch;
use crate::environment;
use crate::hook;
use crate::process::supervise;
use crate::push::Results;
use crate::refusal::Refusal;
use crate::request::{Access, Service};
use crate::resources;
use crate::serve_error::ServeError;
use crate::settings::Settings;

/// A git service, with the protocol version that the client sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GitService<'a> {
    pub(crate) service: Service,
    /// `GIT_PROTOCOL` as the client sent it.
    pub(crate) protocol: Option<&'a OsStr>,
}

impl GitService<'_> {
    /// Serves git until it ends, or until `revoked` returns a reason.
    pub(crate) fn serve(
        &self,
        request: &RepositoryRequest<'_>,
        mut revoked: impl FnMut() -> Option<Refusal>,
    ) -> Result<Served, Refusal> {
        let settings = request.settings;
        let location = request.location()?;
        let repository = request.open(&location)?;
        repository.enter().map_err(cannot_serve)?;
        let hooks = hook::folder(settings);
        if request.access == Access::Write {
            check_programs(settings, &hooks)?;
        }
        resources::limit(&settings.limits).map_err(cannot_run)?;
        let results = Results::new().map_err(cannot_run)?;
        let mut git = self.command(request, &location, &hooks, &results)?;
        let mut idle = IdleWatch::new(&settings.limits);
        let ending = supervise::run(&mut git, || revoked().or_else(|| idle.check())).map_err(cannot_run)?;
        request.close(&location, &repository);
        let served = Served::of(ending);
        Ok(match request.access {
            Access::Write => served.of_push(&results.read(), settings),
            Access::Read => served,
        })
    }

    /// The command for git, to be run in the repository in the current folder.
    fn command(
        &self,
        request: &RepositoryRequest<'_>,
        location: &Location,
        hooks: &Path,
        results: &Results,
    ) -> Result<Command, Refusal> {
        let push = request.push(location);
        let mut git = Command::new("git");
        git.arg(self.service.verb());
        if self.service == Service::UploadPack {
            git.arg("--strict");
        }
        git.arg(".");
        environment::set_for_git(&mut git, request.settings, hooks, &push, self.protocol);
        if request.access == Access::Write {
            push.set_for_hooks(&mut git, results).map_err(cannot_run)?;
        }
        Ok(git)
    }
}

/// Checks the programs that a push needs before it is stored.
fn check_programs(settings: &Settings, hooks: &Path) -> Result<(), Refusal> {
    let program = settings.deploy.iter().map(|deploy| deploy.program.clone());
    hook::programs(hooks)
        .chain(program)
        .try_for_each(|path| check_program(&path, Trust::ROOT))
        .map_err(cannot_serve)
}

fn cannot_run(error: std::io::Error) -> Refusal {
    cannot_serve(ServeError::Run(error))
}
