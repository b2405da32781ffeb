//! Sign-in by OpenID Connect, and linking identities to accounts.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use pushkeys_keys::{AccountId, AccountName};

use super::external::{AttemptCookie, ConsoleOrigin, arrived, leave};
use super::messages::fill;
use super::pages::Section;
use super::paths::{self, to_profile};
use super::posted::{Posted, PostedSignedOut};
use super::sign_in::{SignInFailure, begin_session, safe_next};
use super::state::Console;
use super::visitor::{SignedIn, Visitor, with_session};
use super::{confirm, refusals};
use crate::code_flow::{Attempt, Callback};
use crate::oidc::{Oidc, ProviderRedirect, SignIn};
use crate::rate_limit::whole_seconds;
use crate::store::{Identity, SetIdentityError};

/// The context of an attempt without a session.
const SIGN_IN: &str = "sign in";

/// The context of an attempt to link within `session`.
fn link_context(session: &str) -> String {
    format!("link {session}")
}

/// `POST /sign-in/oidc`
pub(super) async fn sign_in(
    State(console): State<Console>,
    here: ConsoleOrigin,
    posted: PostedSignedOut,
) -> Response {
    let PostedSignedOut { by, fields } = posted;
    let Some(oidc) = &console.oidc else { return Redirect::to(paths::SIGN_IN).into_response() };
    let next = safe_next(fields.get("next"));
    let redirect = ProviderRedirect { context: SIGN_IN, origin: &here.0, next: &next, is_confirming: false };
    match oidc.begin(&redirect).await {
        Ok((url, cookie)) => leave(&console, by.page(), &oidc.settings().label, url, &cookie),
        Err(error) => by.not_signed_in(oidc, &error),
    }
}

/// `POST /users/me/oidc/link`
pub(super) async fn link(State(console): State<Console>, here: ConsoleOrigin, posted: Posted) -> Response {
    let Some(oidc) = &console.oidc else { return to_profile("gone") };
    if let Err(response) = confirm::check(&console, &posted, &confirm::LINK_OIDC).await {
        return response;
    }
    let by = posted.by;
    let context = link_context(&by.session.id);
    let redirect =
        ProviderRedirect { context: &context, origin: &here.0, next: paths::PROFILE, is_confirming: false };
    match oidc.begin(&redirect).await {
        Ok((url, cookie)) => leave(&console, by.page(Section::Profile), &oidc.settings().label, url, &cookie),
        Err(error) => by.visitor.not_signed_in(oidc, &error),
    }
}

/// `POST /users/me/oidc/unlink`
pub(super) async fn unlink(State(console): State<Console>, Posted { by, .. }: Posted) -> Response {
    let Some(oidc) = &console.oidc else { return to_profile("gone") };
    let (account, issuer) = (&by.session.account, oidc.settings().issuer.as_str());
    match console.store.remove_identity(account, issuer, &by.actor()).await {
        Ok(_) => to_profile("unlinked"),
        Err(error) => not_tied(&by.visitor, oidc, &error),
    }
}

/// `GET /sign-in/oidc/callback`
pub(super) async fn callback(
    State(console): State<Console>,
    visitor: Visitor,
    signed_in: Option<SignedIn>,
    AttemptCookie(cookie): AttemptCookie,
    asked: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Some(oidc) = &console.oidc else { return Redirect::to(paths::SIGN_IN).into_response() };
    let callback = asked.map(|Query(callback)| callback).unwrap_or_default();
    let returned = ReturnedBrowser { console: &console, oidc, visitor: &visitor, callback: &callback };
    let attempt_of = |context: &str| oidc.attempt(context, &cookie);
    let in_session = signed_in.as_ref().map(|by| (by, by.session.id.as_str()));
    let linking = in_session.and_then(|(by, session)| Some((by, attempt_of(&link_context(session)).ok()?)));
    let confirming =
        in_session.and_then(|(by, session)| Some((by, attempt_of(&confirm::context(session)).ok()?)));
    let response = match (linking, confirming) {
        (Some((by, attempt)), _) => returned.link(by, &attempt).await,
        (None, Some((by, attempt))) => returned.confirm(by, &attempt).await,
        (None, None) => match attempt_of(SIGN_IN) {
            Ok(attempt) => returned.sign_in(&attempt).await,
            Err(error) => visitor.not_signed_in(oidc, &error.into()),
        },
    };
    arrived(&console, response)
}

/// A browser that came back from the provider.
struct ReturnedBrowser<'a> {
    console: &'a Console,
    oidc: &'a Oidc,
    visitor: &'a Visitor,
    callback: &'a Callback,
}

impl ReturnedBrowser<'_> {
    async fn link(&self, by: &SignedIn, attempt: &Attempt) -> Response {
        let identity = match self.oidc.finish(attempt, self.callback, false).await {
            Ok(SignIn { identity, .. }) => identity,
            Err(error) => return self.visitor.not_signed_in(self.oidc, &error),
        };
        match self.console.store.set_identity(&by.session.account, &identity, &by.actor()).await {
            Ok(()) => to_profile("linked"),
            Err(error) => not_tied(self.visitor, self.oidc, &error),
        }
    }

    /// Confirms the session if the user who signed in again is its user.
    async fn confirm(&self, by: &SignedIn, attempt: &Attempt) -> Response {
        let SignIn { identity, at } = match self.oidc.finish(attempt, self.callback, true).await {
            Ok(sign_in) => sign_in,
            Err(error) => return self.visitor.not_signed_in(self.oidc, &error),
        };
        match self.console.store.account_by_identity(&identity).await {
            Ok(Some(account)) if account == by.session.account => {
                confirm::go_on(self.console, self.oidc, by, &attempt.next, at).await
            }
            Ok(_) => {
                let label = &self.oidc.settings().label;
                let why = fill(by.texts().oidc_other_user, &[("name", label)]);
                self.visitor.refused(StatusCode::FORBIDDEN, &why)
            }
            Err(error) => by.failed(&error),
        }
    }

    async fn sign_in(&self, attempt: &Attempt) -> Response {
        // Each attempt causes a request to the provider, also if the code is made up.
        let waits = self.visitor.address.map(|address| self.console.address_attempts.check(&address.into()));
        if let Some(Err(wait)) = waits {
            let seconds = whole_seconds(wait).to_string();
            let why = fill(self.visitor.texts().sign_in_too_often, &[("seconds", &seconds)]);
            return self.visitor.refused(StatusCode::TOO_MANY_REQUESTS, &why);
        }
        let SignIn { identity, at } = match self.oidc.finish(attempt, self.callback, false).await {
            Ok(sign_in) => sign_in,
            Err(error) => return self.visitor.not_signed_in(self.oidc, &error),
        };
        if let Some(address) = self.visitor.address {
            self.console.address_attempts.forgive(&address.into());
        }
        let account = match self.account(&identity).await {
            Ok(account) => account,
            Err(response) => return response,
        };
        match begin_session(self.console, self.visitor, &account, None, at).await {
            Ok(token) => {
                let next = Redirect::to(&safe_next(&attempt.next)).into_response();
                with_session(self.console, &token, next)
            }
            Err(SignInFailure::Failed(response)) => response,
            Err(_) => self.visitor.refused(StatusCode::FORBIDDEN, self.visitor.texts().account_gone),
        }
    }

    /// The account of `identity`, which is added at the first sign-in if that is configured.
    async fn account(&self, identity: &Identity) -> Result<AccountId, Response> {
        let (store, visitor) = (&self.console.store, self.visitor);
        let known = store.account_by_identity(identity).await.map_err(|error| visitor.failed(&error))?;
        if let Some(account) = known {
            return Ok(account);
        }
        let texts = visitor.texts();
        let settings = self.oidc.settings();
        let refused = |why: &str| {
            let why = fill(why, &[("name", &settings.label)]);
            visitor.refused(StatusCode::FORBIDDEN, &why)
        };
        if !settings.create_accounts {
            return Err(refused(texts.oidc_unknown));
        }
        let claim = &settings.account_claim;
        let name = match identity.name.as_deref().map(AccountName::parse) {
            Some(Ok(name)) => name,
            Some(Err(error)) => {
                tracing::warn!(
                    "no account was added: the claim `{claim}` (`oidc.account_claim`) is no name: {error}"
                );
                return Err(refused(texts.oidc_no_name));
            }
            None => {
                tracing::warn!(
                    "no account was added: the ID token has no text in the claim `{claim}`, which `oidc.account_claim` \
                     names, hint: set `oidc.account_claim` to a claim that the provider sends, or ask for its scope in \
                     `oidc.scopes`"
                );
                return Err(refused(texts.oidc_no_name));
            }
        };
        let added = store.add_account_of_identity(&name, identity, &visitor.actor()).await;
        let account = added.map_err(|error| not_tied(visitor, self.oidc, &error))?;
        tracing::info!(%account, "`{account}` was added at its first sign-in by OpenID Connect");
        Ok(account)
    }
}

fn not_tied(visitor: &Visitor, oidc: &Oidc, error: &SetIdentityError) -> Response {
    let why = match refusals::tie(error, visitor.texts()) {
        Some(why) => fill(why, &[("name", &oidc.settings().label)]),
        None => return visitor.failed(error),
    };
    visitor.refused(StatusCode::FORBIDDEN, &why)
}
