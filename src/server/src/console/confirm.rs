//! Asking for the password again before somebody gets access.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;

use super::Console;
use super::messages::fill;
use super::pages::{self, Confirm, Section};
use super::posted::Posted;
use super::sign_in::{NotLetIn, check_password, oidc_label};
use super::text::Sentence;
use super::visitor::SignedIn;

impl SignedIn {
    /// Whether its owner has said recently enough who he is.
    pub(super) fn is_recent(&self, console: &Console) -> bool {
        let age_ms = Timestamp::now().as_millisecond() - self.session.signed_in_at.as_millisecond();
        u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < console.config.confirm_after.as_millis())
    }
}

/// Lets a form through whose sender signed in recently or sent the password along; `Err` is the page that
/// asks for it and goes on to `action` with the fields `kept`.
pub(super) async fn check(
    console: &Console,
    posted: &Posted,
    action: &'static str,
    kept: &[&'static str],
) -> Result<(), Response> {
    let Posted { by, fields } = posted;
    if by.is_recent(console) {
        return Ok(());
    }
    let kept = || kept.iter().map(|name| (*name, fields.get(name).to_owned())).collect();
    let ask = |status, refusal: Option<&str>| {
        let page = by.page(Section::Keys);
        let page = if refusal.is_some() { page.with_error() } else { page };
        let oidc = oidc_label(console, by.texts());
        let refusal = refusal.map(Sentence::new);
        pages::render(status, &Confirm { page, action, kept: kept(), refusal, oidc })
    };
    let password = fields.get("password");
    if password.is_empty() {
        return Err(ask(StatusCode::OK, None));
    }
    let texts = by.texts();
    match check_password(console, &by.visitor, &by.session.account_name, password).await {
        Ok(_) => console.store.confirm_session(&by.session.id).await.map_err(|error| by.failed(&error)),
        Err(NotLetIn::Wrong) => Err(ask(StatusCode::FORBIDDEN, Some(texts.confirm_wrong))),
        Err(NotLetIn::TooOften { seconds }) => {
            let why = fill(texts.sign_in_too_often, &[("seconds", &seconds.to_string())]);
            Err(ask(StatusCode::TOO_MANY_REQUESTS, Some(&why)))
        }
        Err(NotLetIn::Busy) => Err(ask(StatusCode::SERVICE_UNAVAILABLE, Some(texts.sign_in_busy))),
        Err(NotLetIn::Failed(response)) => Err(response),
    }
}
