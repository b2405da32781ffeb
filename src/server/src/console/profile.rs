//! The profile: account, linked accounts, sessions, password, tokens, and activity.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::messages::{Messages, fill};
use super::pages::{self, AccountFacts, ActivityRow, LinkedRow, ProfilePage, Section, SessionRow, TokenRow};
use super::paths::{self, to_profile};
use super::posted::Posted;
use super::sign_in::{SignInFailure, check_password};
use super::state::Console;
use super::text::{Moment, Sentence};
use super::visitor::SignedIn;
use crate::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN, Password, PasswordRefusal};
use crate::store::{AuditEvent, AuditRow, Email, SessionInfo, StoreError, TokenInfo, Via};

/// Rows of the activity on one page.
const HISTORY_ROWS: u32 = 50;
const DAY_S: u64 = 24 * 60 * 60;

/// The query of the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ProfileQuery {
    done: String,
    before: Option<u64>,
}

/// `GET /users/me`
pub(super) async fn show(
    State(console): State<Console>,
    by: SignedIn,
    asked: Result<Query<ProfileQuery>, QueryRejection>,
) -> Response {
    let ProfileQuery { done, before } = asked.map(|Query(asked)| asked).unwrap_or_default();
    let texts = by.texts();
    let notice = match done.as_str() {
        "password" => Some(texts.done_password),
        "session-ended" => Some(texts.done_session_ended),
        "linked" => Some(texts.done_linked),
        "unlinked" => Some(texts.done_unlinked),
        "token-revoked" => Some(texts.done_token_revoked),
        _ => None,
    };
    page(&console, &by, notice, before, None).await
}

/// `POST /users/me/password`
pub(super) async fn change_password(
    State(console): State<Console>,
    Posted { by, fields }: Posted,
) -> Response {
    let texts = by.texts();
    let again = async |why: &str| page(&console, &by, None, None, Some(Sentence::new(why))).await;
    let new = match Password::new(fields.get("new").to_owned()) {
        Ok(new) => new,
        Err(PasswordRefusal::TooShort) => return again(&min_characters(texts.password_short)).await,
        Err(PasswordRefusal::TooLong) => {
            return again(&fill(texts.password_long, &[("max", &PASSWORD_BYTES_MAX.to_string())])).await;
        }
    };
    let checked =
        check_password(&console, &by.visitor, &by.session.account_name, fields.get("current")).await;
    match checked {
        Ok(_) => {}
        Err(SignInFailure::Wrong) => return again(texts.confirm_wrong).await,
        Err(SignInFailure::TooOften { seconds }) => {
            return again(&fill(texts.sign_in_too_often, &[("seconds", &seconds.to_string())])).await;
        }
        Err(SignInFailure::Busy) => return again(texts.sign_in_busy).await,
        Err(SignInFailure::Failed(response)) => return response,
    }
    let hash = match console.passwords.hash(new).await {
        Ok(hash) => hash,
        Err(error) => return by.visitor.failed(&error),
    };
    let (account, kept) = (&by.session.account, Some(by.session.id.as_str()));
    match console.store.set_password(account, &hash, kept, &by.actor()).await {
        Ok(_) => to_profile("password"),
        Err(error) => by.failed(&error),
    }
}

/// `POST /users/me/sessions/end`
pub(super) async fn end_session(State(console): State<Console>, Posted { by, fields }: Posted) -> Response {
    let (account, actor) = (&by.session.account, by.actor());
    let ended = match fields.get("session") {
        "others" => console.store.end_other_sessions(account, &by.session.id, &actor).await,
        id => {
            let ended = console.store.end_session(account, id, AuditEvent::SessionEnded, &actor).await;
            ended.map(|_| ())
        }
    };
    match ended {
        Ok(()) => to_profile("session-ended"),
        Err(error) => by.failed(&error),
    }
}

/// `POST /users/me/tokens/revoke`
pub(super) async fn revoke_token(State(console): State<Console>, Posted { by, fields }: Posted) -> Response {
    let (account, actor) = (Some(&by.session.account), by.actor());
    match console.store.revoke_token(account, fields.get("token"), &actor).await {
        Ok(_) => to_profile("token-revoked"),
        Err(error) => by.failed(&error),
    }
}

async fn page(
    console: &Console,
    by: &SignedIn,
    notice: Option<&'static str>,
    before: Option<u64>,
    refusal: Option<Sentence>,
) -> Response {
    let status = if refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    match fill_page(console, by, notice, before, refusal).await {
        Ok(page) => pages::render(status, &page),
        Err(error) => by.failed(&error),
    }
}

async fn fill_page(
    console: &Console,
    by: &SignedIn,
    notice: Option<&'static str>,
    before: Option<u64>,
    refusal: Option<Sentence>,
) -> Result<ProfilePage, StoreError> {
    let (store, id, texts) = (&console.store, &by.session.account, by.texts());
    let (account, password, linked, sessions, tokens, activity) = tokio::try_join!(
        store.account(id.as_str()),
        store.password(&by.session.account_name),
        linked(console, by),
        store.sessions(id, console.lifetimes()),
        store.tokens(id),
        store.audit(id, before, HISTORY_ROWS),
    )?;
    let page = by.page(Section::Profile);
    let older = activity.last().filter(|_| activity.len() == HISTORY_ROWS as usize).map(|row| row.number);
    let days = (console.config.history_max.as_secs() / DAY_S).to_string();
    Ok(ProfilePage {
        page: if refusal.is_some() { page.with_error() } else { page },
        notice,
        account: AccountFacts {
            name: by.session.account_name.clone(),
            id: id.to_string(),
            email: account.and_then(|account| account.email).as_ref().map(Email::to_string),
        },
        linked,
        sessions: sessions.into_iter().map(|session| session_row(session, by)).collect(),
        has_password: password.is_some_and(|(_, hash)| hash.is_some()),
        password_hint: min_characters(texts.new_password_hint),
        refusal,
        tokens: tokens.into_iter().map(|token| token_row(token, texts)).collect(),
        activity: activity.into_iter().map(|row| history_row(row, texts)).collect(),
        activity_lead: fill(texts.activity_lead, &[("days", &days)]),
        older,
    })
}

/// The external services that the account is, or could be, linked to.
async fn linked(console: &Console, by: &SignedIn) -> Result<Vec<LinkedRow>, StoreError> {
    let (store, account) = (&console.store, &by.session.account);
    let mut rows = Vec::new();
    if console.github.is_some() {
        let linked_as = store.github_link(account).await?.map(|link| link.login);
        let (link, unlink) = (paths::LINK_GITHUB, paths::UNLINK_GITHUB);
        rows.push(LinkedRow { service: "GitHub".to_owned(), linked_as, link, unlink });
    }
    if let Some(oidc) = &console.oidc {
        let linked_as = store.identity(account, oidc.settings().issuer.as_str()).await?;
        let (link, unlink) = (paths::LINK_OIDC, paths::UNLINK_OIDC);
        rows.push(LinkedRow { service: oidc.settings().label.clone(), linked_as, link, unlink });
    }
    Ok(rows)
}

fn min_characters(message: &str) -> String {
    fill(message, &[("min", &PASSWORD_CHARACTERS_MIN.to_string())])
}

fn session_row(session: SessionInfo, by: &SignedIn) -> SessionRow {
    let texts = by.texts();
    let seen_at = Moment::from(session.seen_at).to_string();
    let address = session.address.map(|address| address.to_string());
    SessionRow {
        is_current: session.id == by.session.id,
        agent: browser(&session.agent),
        seen: fill(texts.session_seen, &[("time", &seen_at)]),
        from: address.map(|address| fill(texts.session_from, &[("address", &address)])).unwrap_or_default(),
        end_label: fill(texts.session_end_label, &[("time", &seen_at)]),
        id: session.id,
    }
}

/// Name and operating system of a browser, if its `User-Agent` is a known one; otherwise the whole text.
fn browser(agent: &str) -> String {
    const BROWSERS: [(&str, &str); 5] = [
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        // Other browsers have `Safari/` too.
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser}, {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ if agent.is_empty() => "?".to_owned(),
        _ => agent.to_owned(),
    }
}

fn token_row(token: TokenInfo, texts: &Messages) -> TokenRow {
    let expires = token.expires_at.map(|expires_at| Moment::from(expires_at).to_string());
    TokenRow {
        id: token.id,
        label: token.label.unwrap_or_else(|| texts.token_unnamed.to_owned()),
        added: Moment::from(token.created_at),
        expires: expires.map(|time| fill(texts.token_expires, &[("time", &time)])),
    }
}

fn history_row(row: AuditRow, texts: &Messages) -> ActivityRow {
    let message = match row.event {
        AuditEvent::KeyAdded => texts.event_key_added,
        AuditEvent::KeysImported => texts.event_keys_imported,
        AuditEvent::KeyChanged => texts.event_key_changed,
        AuditEvent::KeyRemoved => texts.event_key_removed,
        AuditEvent::KeyReported => texts.event_key_reported,
        AuditEvent::KeyProved => texts.event_key_proved,
        AuditEvent::KeyContested => texts.event_key_contested,
        AuditEvent::KeyTakenOver => texts.event_key_taken_over,
        AuditEvent::SignedIn => texts.event_signed_in,
        AuditEvent::SignedOut => texts.event_signed_out,
        AuditEvent::SessionEnded => texts.event_session_ended,
        AuditEvent::PasswordChanged => texts.event_password_changed,
        AuditEvent::TokenAdded => texts.event_token_added,
        AuditEvent::TokenRevoked => texts.event_token_revoked,
        AuditEvent::LinkAdded => texts.event_link_added,
        AuditEvent::LinkRemoved => texts.event_link_removed,
    };
    let subject = if row.subject.is_empty() { texts.token_unnamed } else { &row.subject };
    let by = match row.actor.via {
        Via::Console => texts.by_console.to_owned(),
        Via::Token(label) => {
            let label = label.unwrap_or_else(|| texts.token_unnamed.to_owned());
            fill(texts.by_token, &[("name", &label)])
        }
        Via::Operator => texts.by_operator.to_owned(),
        Via::Service => texts.by_service.to_owned(),
    };
    let what = fill(message, &[("name", subject)]);
    let more =
        (row.repeats > 0).then(|| fill(texts.activity_repeats, &[("count", &row.repeats.to_string())]));
    ActivityRow {
        at: Moment::from(row.at),
        what: [Some(what), more].into_iter().flatten().collect::<Vec<_>>().join(" "),
        by,
        from: row.actor.address.map(|address| address.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_named_as_its_user_knows_it() {
        let check = |agent: &str, expected: &str| assert_eq!(browser(agent), expected);
        check("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox, Linux");
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0",
            "Edge, Windows",
        );
        check("curl/8.5.0", "curl/8.5.0");
        check("", "?");
    }
}
