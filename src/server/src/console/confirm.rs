//! Confirmation of actions that give access: by the password, or by a new sign-in at the OpenID provider. The form that was
//! sent is kept: in the page that asks for the password, or encrypted in the session while the browser is at the provider.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;

use super::external::{ConsoleOrigin, leave};
use super::messages::fill;
use super::pages::{self, ConfirmPage, ConfirmedPage, Section};
use super::paths::{self, to_keys};
use super::posted::{Fields, Posted};
use super::sign_in::{SignInFailure, check_password, oidc_label};
use super::state::Console;
use super::text::Sentence;
use super::visitor::SignedIn;
use crate::oidc::{Oidc, ProviderRedirect};
use crate::store::StoreError;

/// An action that needs a recent sign-in.
pub(super) struct Action {
    /// The path of its form.
    pub(super) path: &'static str,
    /// The fields of the form that are kept.
    kept: &'static [&'static str],
}

pub(super) const ADD_KEY: Action = Action { path: paths::KEYS, kept: &["name", "key", "expires_on"] };
pub(super) const PROVE_KEY: Action =
    Action { path: paths::PROOF, kept: &["name", "fingerprint", "signature"] };
pub(super) const IMPORT_KEYS: Action = Action { path: paths::IMPORT_GITHUB, kept: &["fingerprints"] };
pub(super) const LINK_GITHUB: Action = Action { path: paths::LINK_GITHUB, kept: &[] };
pub(super) const LINK_OIDC: Action = Action { path: paths::LINK_OIDC, kept: &[] };
pub(super) const APPROVE_CLI: Action = Action { path: paths::CLI, kept: &["cli_token", "cli_version"] };

const ACTIONS: [&Action; 6] = [&ADD_KEY, &PROVE_KEY, &IMPORT_KEYS, &LINK_GITHUB, &LINK_OIDC, &APPROVE_CLI];

impl Action {
    fn of(path: &str) -> Option<&'static Self> {
        ACTIONS.into_iter().find(|action| action.path == path)
    }

    fn kept(&self, fields: &Fields) -> Vec<(&'static str, String)> {
        self.kept.iter().map(|name| (*name, fields.get(name).to_owned())).collect()
    }
}

impl SignedIn {
    /// Whether the sign-in or the last confirmation is recent enough.
    pub(super) fn is_recent(&self, console: &Console) -> bool {
        let age_ms = Timestamp::now().as_millisecond() - self.session.signed_in_at.as_millisecond();
        u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < console.config.confirm_after.as_millis())
    }
}

/// The context of an attempt to confirm `session`.
pub(super) fn context(session: &str) -> String {
    format!("confirm {session}")
}

/// Accepts a form if the sign-in is recent or the form has the password; `Err` is the page that asks for confirmation and
/// then continues with `action`.
pub(super) async fn check(
    console: &Console,
    posted: &Posted,
    action: &'static Action,
) -> Result<(), Response> {
    let Posted { by, fields } = posted;
    if by.is_recent(console) {
        return Ok(());
    }
    let password = fields.get("password");
    if password.is_empty() {
        return Err(ask(console, posted, action, StatusCode::OK, None).await);
    }
    let texts = by.texts();
    let (status, refusal) =
        match check_password(console, &by.visitor, &by.session.account_name, password).await {
            Ok(_) => {
                let confirmed = console.store.confirm_session(&by.session.id, Timestamp::now()).await;
                return confirmed.map(|_| ()).map_err(|error| by.failed(&error));
            }
            Err(SignInFailure::Wrong) => (StatusCode::FORBIDDEN, texts.confirm_wrong.to_owned()),
            Err(SignInFailure::TooOften { seconds }) => {
                let why = fill(texts.sign_in_too_often, &[("seconds", &seconds.to_string())]);
                (StatusCode::TOO_MANY_REQUESTS, why)
            }
            Err(SignInFailure::Busy) => (StatusCode::SERVICE_UNAVAILABLE, texts.sign_in_busy.to_owned()),
            Err(SignInFailure::Failed(response)) => return Err(response),
        };
    Err(ask(console, posted, action, status, Some(&refusal)).await)
}

/// The page that asks for confirmation, with the ways that the account has.
async fn ask(
    console: &Console,
    Posted { by, fields }: &Posted,
    action: &'static Action,
    status: StatusCode,
    refusal: Option<&str>,
) -> Response {
    let (has_password, oidc) = match ways(console, by).await {
        Ok(ways) => ways,
        Err(error) => return by.failed(&error),
    };
    let page = by.page(Section::Keys);
    let page = if refusal.is_some() { page.with_error() } else { page };
    let (refusal, kept) = (refusal.map(Sentence::new), action.kept(fields));
    pages::render(status, &ConfirmPage { page, action: action.path, kept, refusal, has_password, oidc })
}

/// Whether the account has a password, and the button for its OpenID provider.
async fn ways(console: &Console, by: &SignedIn) -> Result<(bool, Option<String>), StoreError> {
    let found = console.store.password(&by.session.account_name).await?;
    let has_password = found.is_some_and(|(_, hash)| hash.is_some());
    let Some(oidc) = &console.oidc else { return Ok((has_password, None)) };
    let identity = console.store.identity(&by.session.account, oidc.settings().issuer.as_str()).await?;
    Ok((has_password, identity.and_then(|_| oidc_label(console, by.texts()))))
}

/// `POST /users/me/confirm/oidc`: redirects to the provider; the form for `action` is kept.
pub(super) async fn leave_for_oidc(
    State(console): State<Console>,
    here: ConsoleOrigin,
    Posted { by, fields }: Posted,
) -> Response {
    let (Some(oidc), Some(action)) = (&console.oidc, Action::of(fields.get("action"))) else {
        return to_keys("gone");
    };
    let context = context(&by.session.id);
    let form: BTreeMap<_, _> = action.kept(&fields).into_iter().collect();
    let encrypted =
        serde_json::to_vec(&form).map_or_else(|_| Ok(Vec::new()), |form| oidc.encrypt_form(&context, &form));
    let encrypted = match encrypted {
        Ok(encrypted) => encrypted,
        Err(error) => return by.visitor.failed(&error),
    };
    if let Err(error) = console.store.set_kept_form(&by.session.id, &encrypted).await {
        return by.failed(&error);
    }
    let redirect =
        ProviderRedirect { context: &context, origin: &here.0, next: action.path, is_confirming: true };
    match oidc.begin(&redirect).await {
        Ok((url, cookie)) => leave(&console, by.page(Section::Keys), &oidc.settings().label, url, &cookie),
        Err(error) => by.visitor.not_signed_in(oidc, &error),
    }
}

/// The session was confirmed at `at`: the page that continues with the action at `path`.
pub(super) async fn go_on(
    console: &Console,
    oidc: &Oidc,
    by: &SignedIn,
    path: &str,
    at: Timestamp,
) -> Response {
    let encrypted = match console.store.confirm_session(&by.session.id, at).await {
        Ok(encrypted) => encrypted.unwrap_or_default(),
        Err(error) => return by.failed(&error),
    };
    let form = oidc.decrypt_form(&context(&by.session.id), &encrypted).unwrap_or_default();
    let form: BTreeMap<String, String> = serde_json::from_slice(&form).unwrap_or_default();
    let Some(action) = Action::of(path) else { return to_keys("gone") };
    let kept = action.kept.iter().filter_map(|name| Some((*name, form.get(*name)?.clone())));
    let page = by.page(Section::Keys);
    pages::render(StatusCode::OK, &ConfirmedPage { page, action: action.path, kept: kept.collect() })
}
