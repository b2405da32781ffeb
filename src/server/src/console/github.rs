//! Linking a GitHub account, and importing keys from there.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use pushkeys_keys::{ErrorReport, Fingerprint};
use tokio::time::timeout;

use super::external::{AttemptCookie, ConsoleOrigin, arrived, leave};
use super::messages::{Messages, fill};
use super::pages::{self, GithubPanel, GoneRow, ImportPage, ImportRow, RefusedRow, Section};
use super::paths::{to_keys, to_profile};
use super::posted::Posted;
use super::state::Console;
use super::text::Sentence;
use super::visitor::SignedIn;
use super::{confirm, refusals};
use crate::code_flow::{Callback, CodeFlowError};
use crate::github::{Candidate, GitHub, GithubError, LinkError, Proposal, ProposeError};
use crate::outbound::Remedy;
use crate::store::{GithubLink, Imported, KeyFromGithub, PutKeyError, StoreError};

const GITHUB: &str = "GitHub";
/// How long the page of keys waits for GitHub.
const PANEL_TIME_MAX: Duration = Duration::from_secs(4);

/// `POST /users/me/github/link`
pub(super) async fn link(State(console): State<Console>, here: ConsoleOrigin, posted: Posted) -> Response {
    let Some(github) = &console.github else { return to_keys("gone") };
    if let Err(response) = confirm::check(&console, &posted, &confirm::LINK_GITHUB).await {
        return response;
    }
    let by = posted.by;
    match github.begin(&by.session.id, &here.0) {
        Ok((url, cookie)) => leave(&console, by.page(Section::Keys), GITHUB, url, &cookie),
        Err(error) => by.visitor.failed(&error),
    }
}

/// `GET /users/me/github/callback`
pub(super) async fn callback(
    State(console): State<Console>,
    by: SignedIn,
    AttemptCookie(cookie): AttemptCookie,
    asked: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Some(github) = &console.github else { return to_keys("gone") };
    let callback = asked.map(|Query(callback)| callback).unwrap_or_default();
    let account = &by.session.account;
    let link = match github.finish(account, &by.session.id, &cookie, &callback).await {
        Ok(link) => link,
        Err(error) => return arrived(&console, not_linked(&by, &error)),
    };
    let response = match replace_link(&console, github, &by, &link).await {
        Ok(()) => to_keys("linked"),
        Err(error) => by.failed(&error),
    };
    arrived(&console, response)
}

/// Stores the link, and revokes the token of the one before.
async fn replace_link(
    console: &Console,
    github: &GitHub,
    by: &SignedIn,
    link: &GithubLink,
) -> Result<(), StoreError> {
    let account = &by.session.account;
    let former = console.store.github_link(account).await?;
    console.store.set_github_link(account, link, &by.actor()).await?;
    if let Some(former) = former {
        give_back(github, by, &former).await;
    }
    Ok(())
}

fn not_linked(by: &SignedIn, error: &LinkError) -> Response {
    tracing::warn!(account = %by.session.account, "`{}` was not linked to GitHub: {}", by.session.account, ErrorReport::of(error));
    let texts = by.texts();
    let why = match error {
        LinkError::Flow(CodeFlowError::NoAttempt) => texts.external_no_attempt.to_owned(),
        LinkError::Flow(CodeFlowError::Refused { reason, remedy }) => {
            refusals::external_refused(GITHUB, reason, *remedy, texts)
        }
        LinkError::Scope => texts.github_scope.to_owned(),
        LinkError::Github(error) => trouble(error, texts),
        LinkError::Flow(error) => refusals::external_failed(GITHUB, error.remedy(), texts).1,
        LinkError::Seal(_) => refusals::external_failed(GITHUB, Remedy::Operator, texts).1,
    };
    by.visitor.refused(StatusCode::BAD_REQUEST, &why)
}

/// `POST /users/me/github/unlink`
pub(super) async fn unlink(State(console): State<Console>, Posted { by, .. }: Posted) -> Response {
    let unlinked = match console.store.remove_github_link(&by.session.account, &by.actor()).await {
        Ok(unlinked) => unlinked,
        Err(error) => return by.failed(&error),
    };
    if let (Some(link), Some(github)) = (unlinked, &console.github) {
        give_back(github, &by, &link).await;
    }
    to_profile("unlinked")
}

/// Revokes the token at GitHub. A failure is only logged, so that users can unlink while GitHub is unavailable.
async fn give_back(github: &GitHub, by: &SignedIn, link: &GithubLink) {
    let account = &by.session.account;
    if let Err(error) = github.give_back(account, link).await {
        tracing::warn!(%account, "a token of `{account}` was not revoked at GitHub: {}", ErrorReport::of(&error));
    }
}

/// `GET /users/me/ssh-keys/github`: a preview of importing all keys.
pub(super) async fn preview(State(console): State<Console>, by: SignedIn) -> Response {
    match propose(&console, &by).await {
        Ok(proposal) => import_page(&by, StatusCode::OK, &proposal, Vec::new(), 0),
        Err(response) => response,
    }
}

/// `POST /users/me/ssh-keys/github`: imports the keys of the given fingerprints that GitHub still lists.
pub(super) async fn import(State(console): State<Console>, posted: Posted) -> Response {
    if let Err(response) = confirm::check(&console, &posted, &confirm::IMPORT_KEYS).await {
        return response;
    }
    let Posted { by, fields } = posted;
    let proposal = match propose(&console, &by).await {
        Ok(proposal) => proposal,
        Err(response) => return response,
    };
    let wanted = fields.get("fingerprints").split_whitespace();
    let wanted: Vec<Fingerprint> = wanted.filter_map(|fingerprint| fingerprint.parse().ok()).collect();
    let candidates: Vec<&Candidate> =
        wanted.iter().filter_map(|fingerprint| proposal.candidate(*fingerprint)).collect();
    let Imported { changes, refused } = match import_all(&console, &by, &proposal, &candidates).await {
        Ok(imported) => imported,
        Err(PutKeyError::Store(error)) => return by.failed(&error),
        Err(_) => return to_keys("gone"),
    };
    let failed = refused.iter().filter_map(|(place, error)| {
        let candidate = candidates.get(*place)?;
        Some(failed_row(&by, candidate, error))
    });
    let (imported, failed) = (changes.len(), failed.collect::<Vec<_>>());
    match (imported, failed.is_empty()) {
        (0, true) => to_keys("gone"),
        (1, true) => to_keys("added"),
        (_, true) => to_keys("imported"),
        // Without the keys that were imported.
        (_, false) => match propose(&console, &by).await {
            Ok(proposal) => import_page(&by, StatusCode::BAD_REQUEST, &proposal, failed, imported),
            Err(response) => response,
        },
    }
}

async fn import_all(
    console: &Console,
    by: &SignedIn,
    proposal: &Proposal,
    candidates: &[&Candidate],
) -> Result<Imported, PutKeyError> {
    let keys = candidates.iter().map(|candidate| KeyFromGithub {
        name: &candidate.name,
        key: &candidate.key,
        github_key: candidate.github_id,
    });
    let (account, keys) = (&by.session.account, keys.collect::<Vec<_>>());
    console.store.import_from_github(account, &proposal.origin, &keys, &by.actor()).await
}

/// What can be imported, or the page that says why nothing can.
async fn propose(console: &Console, by: &SignedIn) -> Result<Proposal, Response> {
    let Some(github) = &console.github else { return Err(to_keys("gone")) };
    match github.propose(&console.store, &console.policy, &by.session.account).await {
        Ok(Some(proposal)) => Ok(proposal),
        Ok(None) => Err(to_keys("gone")),
        Err(ProposeError::Store(error)) => Err(by.failed(&error)),
        Err(ProposeError::Github(error)) => {
            let (status, _) = refusals::external_failed(GITHUB, error.remedy(), by.texts());
            Err(by.visitor.refused(status, &trouble(&error, by.texts())))
        }
    }
}

/// The GitHub panel of the page of keys; `None`: GitHub is not configured.
pub(super) async fn panel(console: &Console, by: &SignedIn) -> Result<Option<GithubPanel>, StoreError> {
    let Some(github) = &console.github else { return Ok(None) };
    let (account, texts) = (&by.session.account, by.texts());
    let Some(link) = console.store.github_link(account).await? else {
        return Ok(Some(GithubPanel::default()));
    };
    let panel = GithubPanel { login: Some(link.login), ..GithubPanel::default() };
    let proposed = timeout(PANEL_TIME_MAX, github.propose(&console.store, &console.policy, account)).await;
    let error = match proposed.unwrap_or(Err(ProposeError::Github(GithubError::TooSlow))) {
        Ok(proposal) => {
            let proposal = proposal.unwrap_or_default();
            return Ok(Some(GithubPanel {
                importable: proposal.importable.iter().map(import_row).collect(),
                refused: refused_rows(&proposal, by),
                gone: proposal.gone.into_iter().map(|key| GoneRow { name: key.name }).collect(),
                ..panel
            }));
        }
        Err(ProposeError::Store(error)) => return Err(error),
        Err(ProposeError::Github(error)) => error,
    };
    tracing::warn!(%account, "the keys of `{account}` at GitHub cannot be listed: {}", ErrorReport::of(&error));
    let is_broken = matches!(error, GithubError::LinkAgain);
    Ok(Some(GithubPanel { trouble: Some(Sentence::new(&trouble(&error, texts))), is_broken, ..panel }))
}

fn trouble(error: &GithubError, texts: &Messages) -> String {
    match error {
        GithubError::LinkAgain => texts.github_link_again.to_owned(),
        GithubError::RateLimited { wait_s } => fill(texts.github_wait, &[("seconds", &wait_s.to_string())]),
        GithubError::TooMany => texts.github_too_many.to_owned(),
        _ => refusals::external_failed(GITHUB, error.remedy(), texts).1,
    }
}

fn import_row(candidate: &Candidate) -> ImportRow {
    ImportRow {
        name: candidate.name.to_string(),
        algorithm: candidate.key.algorithm().to_string(),
        fingerprint: candidate.key.fingerprint().to_string(),
    }
}

fn refused_rows(proposal: &Proposal, by: &SignedIn) -> Vec<RefusedRow> {
    let rows = proposal.refused.iter().map(|refused| RefusedRow {
        name: refused.title.clone(),
        why: refusals::key(&refused.refusal, by.visitor.language),
    });
    rows.collect()
}

/// A key that was refused when it was stored.
fn failed_row(by: &SignedIn, candidate: &Candidate, error: &PutKeyError) -> RefusedRow {
    let name = candidate.name.to_string();
    let why =
        refusals::put(error, &name, by.texts()).unwrap_or_else(|| Sentence::new(by.texts().unavailable));
    RefusedRow { name, why }
}

fn import_page(
    by: &SignedIn,
    status: StatusCode,
    proposal: &Proposal,
    failed: Vec<RefusedRow>,
    imported: usize,
) -> Response {
    let texts = by.texts();
    let page = by.page(Section::Keys);
    let mut refused = failed;
    let notice = (!refused.is_empty())
        .then(|| Sentence::new(&fill(texts.github_partly, &[("count", &imported.to_string())])));
    refused.extend(refused_rows(proposal, by));
    let importable: Vec<_> = proposal.importable.iter().map(import_row).collect();
    let fingerprints: Vec<_> = importable.iter().map(|row| row.fingerprint.clone()).collect();
    let page = if notice.is_some() { page.with_error() } else { page };
    let import =
        ImportPage { page, refusal: notice, importable, refused, fingerprints: fingerprints.join(" ") };
    pages::render(status, &import)
}
