//! Signing in and out.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::messages::{Messages, fill};
use super::pages::{self, SignInPage};
use super::paths;
use super::posted::{Posted, PostedSignedOut};
use super::state::Console;
use super::text::Sentence;
use super::visitor::{SignedIn, Visitor, sign_in_path, with_session, without_session};
use crate::password::HashError;
use crate::rate_limit::{Peer, whole_seconds};
use crate::secret::{self, Token};
use crate::store::{AuditEvent, NewSession};
use pushkeys_keys::{AccountId, AccountName};

/// The longest path to continue with after signing in, in bytes.
const NEXT_BYTES_MAX: usize = 1_024;

/// The query of the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SignInQuery {
    next: String,
    done: String,
}

/// `GET /sign-in`
pub(super) async fn show(
    State(console): State<Console>,
    visitor: Visitor,
    signed_in: Option<SignedIn>,
    asked: Result<Query<SignInQuery>, QueryRejection>,
) -> Response {
    let SignInQuery { next, done } = asked.map(|Query(asked)| asked).unwrap_or_default();
    let next = safe_next(&next);
    if signed_in.is_some() {
        return Redirect::to(&next).into_response();
    }
    let texts = visitor.texts();
    let notice = match done.as_str() {
        "signed-out" => Some(texts.signed_out),
        "session-over" => Some(texts.session_over),
        _ => None,
    };
    let page = visitor.page();
    let oidc = oidc_label(&console, texts);
    pages::render(
        StatusCode::OK,
        &SignInPage { page, next, name: String::new(), notice, refusal: None, oidc },
    )
}

/// Why a sign-in failed.
pub(super) enum SignInFailure {
    /// Wrong account or password.
    Wrong,
    TooOften {
        seconds: u64,
    },
    Busy,
    Failed(Response),
}

/// `POST /sign-in`
pub(super) async fn submit(State(console): State<Console>, posted: PostedSignedOut) -> Response {
    let PostedSignedOut { by, fields } = posted;
    let (name, next) = (fields.get("account").trim(), safe_next(fields.get("next")));
    let not_let_in = match let_in(&console, &by, name, fields.get("password")).await {
        Ok(token) => return with_session(&console, &token, Redirect::to(&next).into_response()),
        Err(not_let_in) => not_let_in,
    };
    let texts = by.texts();
    let (status, refusal) = match not_let_in {
        SignInFailure::Wrong => (StatusCode::FORBIDDEN, texts.sign_in_wrong.to_owned()),
        SignInFailure::TooOften { seconds } => {
            let seconds = seconds.to_string();
            (StatusCode::TOO_MANY_REQUESTS, fill(texts.sign_in_too_often, &[("seconds", &seconds)]))
        }
        SignInFailure::Busy => (StatusCode::SERVICE_UNAVAILABLE, texts.sign_in_busy.to_owned()),
        SignInFailure::Failed(response) => return response,
    };
    let refusal = Some(Sentence::new(&refusal));
    let page = by.page().with_error();
    let oidc = oidc_label(&console, texts);
    pages::render(status, &SignInPage { page, next, name: name.to_owned(), notice: None, refusal, oidc })
}

/// The button for the OpenID provider, if one is configured.
pub(super) fn oidc_label(console: &Console, texts: &Messages) -> Option<String> {
    let label = &console.oidc.as_ref()?.settings().label;
    Some(fill(texts.oidc_sign_in, &[("name", label)]))
}

async fn let_in(console: &Console, by: &Visitor, name: &str, password: &str) -> Result<Token, SignInFailure> {
    let (account, hash) = check_password(console, by, name, password).await?;
    begin_session(console, by, &account, Some(&hash), Timestamp::now()).await
}

/// The account `name` and the hash of its password, if `password` fits. Neither the response nor its time reveals whether
/// the account exists.
pub(super) async fn check_password(
    console: &Console,
    by: &Visitor,
    name: &str,
    password: &str,
) -> Result<(AccountId, String), SignInFailure> {
    let too_often = |wait| SignInFailure::TooOften { seconds: whole_seconds(wait) };
    // Counted before the password is checked, so that no guess is free while others are checked.
    let peer = by.address.map(Peer::from);
    if let Some(peer) = &peer {
        console.address_attempts.check(peer).map_err(too_often)?;
    }
    // Another spelling of the name is no further attempt.
    let spelling = AccountName::spelling(name);
    console.account_attempts.check(&spelling).map_err(too_often)?;
    let checked = compare_password(console, by, name, password).await;
    if !matches!(checked, Err(SignInFailure::Wrong)) {
        if let Some(peer) = &peer {
            console.address_attempts.forgive(peer);
        }
        console.account_attempts.forgive(&spelling);
    }
    checked
}

async fn compare_password(
    console: &Console,
    by: &Visitor,
    name: &str,
    password: &str,
) -> Result<(AccountId, String), SignInFailure> {
    let found =
        console.store.password(name).await.map_err(|error| SignInFailure::Failed(by.failed(&error)))?;
    let (account, hash) = found.map_or((None, None), |(account, hash)| (Some(account), hash));
    let is_right = console.passwords.verify(password.to_owned(), hash.clone()).await;
    let is_right = is_right.map_err(|error| match error {
        HashError::Busy => SignInFailure::Busy,
        error => SignInFailure::Failed(by.failed(&error)),
    })?;
    if let (true, Some(account), Some(hash)) = (is_right, account, hash) {
        return Ok((account, hash));
    }
    let (name, address) = (pushkeys_keys::escape(name), by.address.map(|address| address.to_string()));
    tracing::warn!(account = %name, address, "a sign-in as `{name}` was refused");
    Err(SignInFailure::Wrong)
}

/// Begins a session of `account` for a user who signed in at `signed_in_at`: by the password with the hash `password`, or
/// in another way.
pub(super) async fn begin_session(
    console: &Console,
    by: &Visitor,
    account: &AccountId,
    password: Option<&str>,
    signed_in_at: Timestamp,
) -> Result<Token, SignInFailure> {
    let failed = |error: &(dyn std::error::Error + 'static)| SignInFailure::Failed(by.failed(error));
    let token = Token::new("pks").map_err(|error| failed(&error))?;
    let id = secret::random_id("sess").map_err(|error| failed(&error))?;
    let session = NewSession { id: &id, digest: token.digest(), agent: &by.agent, password, signed_in_at };
    let begun = console.store.add_session(account, &session, console.lifetimes(), &by.actor()).await;
    if !begun.map_err(|error| failed(&error))? {
        return Err(SignInFailure::Wrong);
    }
    // Mails are written in the language of the user's last sign-in.
    let remembered = console.store.set_language(account, by.language.code()).await;
    remembered.map_err(|error| failed(&error))?;
    Ok(token)
}

/// `POST /sign-out`
pub(super) async fn sign_out(State(console): State<Console>, Posted { by, .. }: Posted) -> Response {
    let (account, session) = (&by.session.account, &by.session.id);
    let ended = console.store.end_session(account, session, AuditEvent::SignedOut, &by.actor()).await;
    match ended {
        Ok(_) => {
            let path = format!("{}&done=signed-out", sign_in_path(paths::KEYS, false));
            without_session(&console, Redirect::to(&path).into_response())
        }
        Err(error) => by.failed(&error),
    }
}

/// `next` if it is a path of ours, and not something that a browser would take for a URL of another site.
pub(super) fn safe_next(next: &str) -> String {
    let is_ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= NEXT_BYTES_MAX
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { next.to_owned() } else { paths::KEYS.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_pages_of_ours_alone() {
        for next in ["/users/me", "/cli-oauth?cli_version=4&cli_token=a%2Bb"] {
            assert_eq!(safe_next(next), next);
        }
        for next in ["", "https://a.example", "//a.example", "/\\a.example", "/a\r\nb", "/é", "a"] {
            assert_eq!(safe_next(next), paths::KEYS, "{next:?}");
        }
    }
}
