//! Serves Git LFS: a token for an HTTP server, or a program on this host.

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use pushkeys_files::{Trust, check_program};

use super::repository_request::{RepositoryRequest, cannot_serve};
use super::served::Served;
use super::watch::{IdleWatch, RoomWatch};
use crate::environment;
use crate::json::Object;
use crate::lfs_token::{LfsGrant, LfsKey};
use crate::process::supervise;
use crate::refusal::Refusal;
use crate::request::{Access, LfsCommand, LfsOperation, LfsProgram};
use crate::resources;
use crate::serve_error::ServeError;
use crate::settings::{Create, LfsServer};

/// The answer to a client of Git LFS.
#[derive(Debug)]
pub(crate) enum LfsAnswer {
    /// URL and token in JSON, which is to be printed.
    Token(String),
    /// The program has ended.
    Transferred(Served),
}

/// Answers `command` at `now`. A program runs until it ends, or until `revoked` returns a reason.
pub(crate) fn serve(
    command: &LfsCommand,
    request: &RepositoryRequest<'_>,
    now: Timestamp,
    revoked: impl FnMut() -> Option<Refusal>,
) -> Result<LfsAnswer, Refusal> {
    let Some(lfs) = &request.settings.lfs else { return Err(Refusal::NoLfs) };
    match (command.program, &lfs.server, &lfs.program) {
        (LfsProgram::Authenticate, Some(server), _) => {
            authenticate(server, command.operation, request, now).map(LfsAnswer::Token)
        }
        (LfsProgram::Transfer, _, Some(program)) => {
            transfer(program, command.operation, request, revoked).map(LfsAnswer::Transferred)
        }
        // A client that supports both tries the other one next, or has already tried it.
        (LfsProgram::Authenticate, None, _) => Err(Refusal::NoLfsServer),
        (LfsProgram::Transfer, _, None) => Err(Refusal::NoLfsTransfer),
    }
}

fn authenticate(
    server: &LfsServer,
    operation: LfsOperation,
    request: &RepositoryRequest<'_>,
    now: Timestamp,
) -> Result<String, Refusal> {
    let location = request.location()?;
    // Clients upload files before they push the commits that refer to them, so the repository may not exist yet.
    let may_be_missing = request.access == Access::Write && request.settings.create == Create::FirstPush;
    if !may_be_missing {
        request.open(&location)?;
    }
    let key = LfsKey::read(&server.key_file).map_err(|error| cannot_serve(ServeError::LfsKey(error)))?;
    let path = location.path.as_path().to_string_lossy();
    let (identity, lifetime_s) = (request.identity, server.lifetime_s);
    let grant = LfsGrant { identity, path: &path, operation, issued_at: now, lifetime_s };
    let expires_at = Timestamp::from_second(grant.expires_at_s()).unwrap_or(Timestamp::MAX).to_string();
    let authorization = format!("Bearer {}", key.sign(&grant));
    let answer = Object::default()
        .text("href", Some(&server.url(&path)))
        .object("header", Object::default().text("Authorization", Some(&authorization)))
        .number("expires_in", lifetime_s.into())
        .text("expires_at", Some(&expires_at));
    Ok(answer.finish() + "\n")
}

fn transfer(
    program: &Path,
    operation: LfsOperation,
    request: &RepositoryRequest<'_>,
    mut revoked: impl FnMut() -> Option<Refusal>,
) -> Result<Served, Refusal> {
    let settings = request.settings;
    check_program(program, Trust::ROOT).map_err(cannot_serve)?;
    let location = request.location()?;
    let repository = request.open(&location)?;
    repository.enter().map_err(cannot_serve)?;
    resources::limit(&settings.limits).map_err(|error| cannot_serve(ServeError::Run(error)))?;
    let mut command = Command::new(program);
    command.args([".", operation.word()]);
    environment::set_for_program(&mut command, &request.push(&location))
        .map_err(|error| cannot_serve(ServeError::Run(error)))?;
    let mut idle = IdleWatch::new(&settings.limits);
    let mut room = RoomWatch::new(settings, request.identity);
    let check_room = |room: &mut RoomWatch<'_>| match operation {
        LfsOperation::Upload => room.check(),
        LfsOperation::Download => None,
    };
    if let Some(refusal) = check_room(&mut room) {
        return Err(refusal);
    }
    let ending =
        supervise::run(&mut command, || revoked().or_else(|| idle.check()).or_else(|| check_room(&mut room)))
            .map_err(|error| cannot_serve(ServeError::Run(error)))?;
    request.close(&location, &repository);
    Ok(Served::of(ending))
}
