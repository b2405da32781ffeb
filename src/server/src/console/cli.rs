//! The page on which a user approves a login of the command line (`clever login`).

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use pushkeys_keys::Name;
use serde::Deserialize;

use super::confirm;
use super::messages::fill;
use super::pages::{self, CliPage, MessagePage, Section};
use super::posted::Posted;
use super::state::Console;
use super::text::Sentence;
use super::visitor::SignedIn;
use crate::secret::{TokenDigest, is_cli_token};

/// The most characters of a version that are shown.
const VERSION_CHARACTERS_MAX: usize = 20;
const DAY_S: u64 = 24 * 60 * 60;

/// The query with which the command line opens the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct CliQuery {
    cli_version: String,
    cli_token: String,
}

/// `GET /cli-oauth?cli_version=…&cli_token=…`
pub(super) async fn show(
    State(console): State<Console>,
    by: SignedIn,
    asked: Result<Query<CliQuery>, QueryRejection>,
) -> Response {
    let CliQuery { cli_version, cli_token } = asked.map(|Query(asked)| asked).unwrap_or_default();
    if !is_cli_token(&cli_token) {
        return by.visitor.refused(StatusCode::BAD_REQUEST, by.texts().cli_invalid);
    }
    let texts = by.texts();
    let version = shown_version(&cli_version);
    let days = (console.config.cli_token_max.as_secs() / DAY_S).to_string();
    let values = [("version", version.as_str()), ("account", &by.session.account_name), ("days", &days)];
    let template = CliPage {
        page: by.page(Section::Profile),
        lead: Sentence::new(&fill(texts.cli_lead, &values)),
        caution: Sentence::new(texts.cli_caution),
        token: cli_token,
        version,
    };
    pages::render(StatusCode::OK, &template)
}

/// `POST /cli-oauth`
pub(super) async fn approve(State(console): State<Console>, posted: Posted) -> Response {
    if let Err(response) = confirm::check(&console, &posted, &confirm::APPROVE_CLI).await {
        return response;
    }
    let Posted { by, fields } = posted;
    let (texts, cli_token) = (by.texts(), fields.get("cli_token"));
    let label = format!("{} {}", texts.cli_label, shown_version(fields.get("cli_version")));
    let (true, Ok(label)) = (is_cli_token(cli_token), Name::parse(&label)) else {
        return by.visitor.refused(StatusCode::BAD_REQUEST, texts.cli_invalid);
    };
    let digest = TokenDigest::of(cli_token);
    match console.store.approve_cli_login(&by.session.account, digest, &label).await {
        Ok(true) => {
            tracing::info!(account = %by.session.account, "`{}` approved a login of the command line", by.session.account);
            let (title, text) = (texts.cli_done_title, Sentence::new(texts.cli_done));
            let page = by.page(Section::Profile);
            pages::render(StatusCode::OK, &MessagePage { page, title, text, link: None })
        }
        Ok(false) => by.visitor.refused(StatusCode::BAD_REQUEST, texts.cli_invalid),
        Err(error) => by.failed(&error),
    }
}

/// The characters of `text` that a version can have.
fn shown_version(text: &str) -> String {
    let is_version =
        |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '+');
    text.chars().filter(is_version).take(VERSION_CHARACTERS_MAX).collect()
}
