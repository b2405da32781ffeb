//! The web pages for users: sign-in, SSH keys, profile, and the approval of `clever login`.
//!
//! - Every page works without scripts, and loads nothing from other sites. Templates escape what they show; the only other
//!   way into HTML is [`text::Sentence`].
//! - Every change is a POST from one of our pages, as the browser says ([`posted`]), with the session's CSRF token. Actions
//!   that give access also need a recent sign-in ([`confirm`]).
//! - What was typed as a key is never logged, and a private key is not shown again.

mod assets;
mod cli;
mod confirm;
mod external;
mod github;
mod headers;
mod keys;
mod messages;
mod oidc;
mod pages;
mod paths;
mod posted;
mod profile;
mod proof;
mod refusals;
mod settings;
mod sign_in;
mod site;
mod state;
mod text;
mod visitor;

use axum::Router;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{any, get, post};
use tower_http::compression::CompressionLayer;

pub(crate) use self::settings::ConsoleSettings;
pub(crate) use self::state::{Console, ExternalServices};

/// All pages.
pub(crate) fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to(paths::KEYS)))
        .route(paths::SIGN_IN, get(sign_in::show).post(sign_in::submit))
        .route("/sign-out", post(sign_in::sign_out))
        .route(paths::KEYS, get(keys::show).post(keys::add))
        .route("/users/me/ssh-keys/delete", post(keys::delete))
        .route("/users/me/ssh-keys/challenge", post(proof::ask))
        .route(paths::PROOF, get(proof::show).post(proof::answer))
        .route("/users/me/warnings/dismiss", post(keys::dismiss))
        .route(paths::PROFILE, get(profile::show))
        .route("/users/me/password", post(profile::change_password))
        .route("/users/me/sessions/end", post(profile::end_session))
        .route("/users/me/tokens/revoke", post(profile::revoke_token))
        .route(paths::LINK_GITHUB, post(github::link))
        .route(crate::github::CALLBACK_PATH, get(github::callback))
        .route(paths::UNLINK_GITHUB, post(github::unlink))
        .route(paths::IMPORT_GITHUB, get(github::preview).post(github::import))
        .route("/sign-in/oidc", post(oidc::sign_in))
        .route(paths::CONFIRM_OIDC, post(confirm::leave_for_oidc))
        .route(crate::oidc::CALLBACK_PATH, get(oidc::callback))
        .route(paths::LINK_OIDC, post(oidc::link))
        .route(paths::UNLINK_OIDC, post(oidc::unlink))
        .route(paths::CLI, get(cli::show).post(cli::approve))
        // Pages are not compressed: with their secrets stands text that others choose (BREACH).
        .route("/assets/{file}", get(assets::show).layer(CompressionLayer::new()))
        .route("/users/{*path}", any(visitor::not_found))
        .layer(middleware::from_fn_with_state(console.clone(), headers::guard))
        .with_state(console)
}
