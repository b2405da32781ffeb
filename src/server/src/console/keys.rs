//! The page of keys: list, add, delete, and warnings.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::Date;
use pushkeys_keys::{Expiry, KeyName, ParseNameError, Refusal, ValidKey, md5_fingerprint};
use serde::Deserialize;

use super::messages::{Messages, fill};
use super::pages::{
    self, AddForm, HostKeysBox, KeyRow, KeysPage, PublishedHostKey, PushHelp, Section, SystemHelp, WarningRow,
};
use super::paths::to_keys;
use super::posted::{Fields, Posted};
use super::state::Console;
use super::text::{Moment, Sentence};
use super::visitor::SignedIn;
use super::{confirm, github, refusals};
use crate::origin::Origin;
use crate::push_host::PushHost;
use crate::store::{
    AccountRevocation, HostKey, KeyToPut, KeyUse, Propagation, PutKeyError, ReportKeyError, SilentHost,
    StoreError, StoredKey, Warning, WarningKind,
};

/// The query, which says what was done before.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct KeysQuery {
    done: String,
}

/// `GET /users/me/ssh-keys`
pub(super) async fn show(
    State(console): State<Console>,
    by: SignedIn,
    asked: Result<Query<KeysQuery>, QueryRejection>,
) -> Response {
    let done = asked.map(|Query(asked)| asked.done).unwrap_or_default();
    let texts = by.texts();
    let notice = match done.as_str() {
        "added" => Some(texts.done_added),
        "deleted" => Some(texts.done_deleted),
        "proved" => Some(texts.done_proved),
        "dismissed" => Some(texts.done_dismissed),
        "imported" => Some(texts.done_imported),
        "linked" => Some(texts.done_linked),
        "gone" => Some(texts.done_key_gone),
        _ => None,
    };
    page(&console, &by, AddForm::default(), notice).await
}

/// `POST /users/me/ssh-keys`
pub(super) async fn add(State(console): State<Console>, posted: Posted) -> Response {
    let wanted = match EnteredKey::read(&console, &posted.fields, posted.by.texts(), &posted.by) {
        Ok(wanted) => wanted,
        Err(form) => return page(&console, &posted.by, form, None).await,
    };
    // Only now is it certain that the form, which is kept, holds no private key.
    if let Err(response) = confirm::check(&console, &posted, &confirm::ADD_KEY).await {
        return response;
    }
    let Posted { by, fields } = posted;
    let EnteredKey { name, key, text, expires_at } = &wanted;
    let to_put = KeyToPut { name, key, text, expires_at: *expires_at, may_replace: false };
    let put = console.store.put_key(&by.session.account, &to_put, &by.actor()).await;
    match put {
        Ok(_) => to_keys("added"),
        Err(PutKeyError::Store(error)) => by.failed(&error),
        Err(error) => {
            let field = if matches!(error, PutKeyError::NameTaken) { "name" } else { "key" };
            let refusal = refusals::put(&error, wanted.name.as_str(), by.texts());
            let can_prove = matches!(error, PutKeyError::OfAnotherAccount);
            let form = AddForm { refusal, can_prove, wrong: Some(field), ..typed(&fields) };
            page(&console, &by, form, None).await
        }
    }
}

/// `POST /users/me/ssh-keys/delete`
pub(super) async fn delete(State(console): State<Console>, Posted { by, fields }: Posted) -> Response {
    // Not parsed: it may be older than the rules for names.
    let name = fields.get("name");
    let (account, actor) = (&by.session.account, by.actor());
    let removed = if fields.get("compromised") == "yes" {
        match console.store.report_key(account, name, &actor).await {
            Ok(change) => Ok(Some(change)),
            // The page offers it only for verified keys.
            Err(ReportKeyError::NoSuchKey | ReportKeyError::NotVerified) => Ok(None),
            Err(ReportKeyError::Store(error)) => Err(error),
        }
    } else {
        console.store.remove_key(account, name, &actor).await
    };
    match removed {
        Ok(Some(_)) => to_keys("deleted"),
        Ok(None) => to_keys("gone"),
        Err(error) => by.failed(&error),
    }
}

/// `POST /users/me/warnings/dismiss`
pub(super) async fn dismiss(State(console): State<Console>, Posted { by, fields }: Posted) -> Response {
    match console.store.dismiss_warning(&by.session.account, fields.get("warning")).await {
        Ok(_) => to_keys("dismissed"),
        Err(error) => by.failed(&error),
    }
}

/// The page, with a form that says why its last contents were refused, if they were.
pub(super) async fn page(
    console: &Console,
    by: &SignedIn,
    form: AddForm,
    notice: Option<&'static str>,
) -> Response {
    let status = if form.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    match fill_page(console, by, form, notice).await {
        Ok(page) => pages::render(status, &page),
        Err(error) => by.failed(&error),
    }
}

async fn fill_page(
    console: &Console,
    by: &SignedIn,
    form: AddForm,
    notice: Option<&'static str>,
) -> Result<KeysPage, StoreError> {
    let account = &by.session.account;
    let texts = by.texts();
    let (keys, warnings, revocations, changes_live, github, host_keys) = tokio::try_join!(
        console.store.keys(account),
        console.store.warnings(account),
        console.store.account_revocations(account),
        changes_live(console, texts),
        github::panel(console, by),
        console.store.published_host_keys(),
    )?;
    let now = Timestamp::now();
    let page = by.page(Section::Keys);
    let push = push(console, &keys, &host_keys, texts);
    Ok(KeysPage {
        page: if form.refusal.is_some() { page.with_error() } else { page },
        notice,
        warnings: warnings.into_iter().map(|warning| warning_row(warning, texts)).collect(),
        keys: keys
            .into_iter()
            .map(|key| KeyRow { revoked: revoked(&key, &revocations, texts), ..key_row(key, now, texts) })
            .collect(),
        changes_live,
        github,
        form,
        push,
    })
}

async fn changes_live(console: &Console, texts: &Messages) -> Result<Option<String>, StoreError> {
    let (hosts, state) = tokio::try_join!(console.store.acknowledgements(), console.store.feed_state())?;
    let Propagation { applied, of, silent, .. } =
        Propagation::of(&hosts, &state.head.cursor, Timestamp::now());
    let values = [("applied", &*applied.to_string()), ("hosts", &*of.to_string())];
    let silent = silent.first().map(|SilentHost { host, seconds }| {
        let minutes = seconds.div_ceil(60).to_string();
        fill(texts.host_silent, &[("host", host), ("minutes", &minutes)])
    });
    let sentences = [Some(fill(texts.changes_live, &values)), silent];
    Ok((of > 0).then(|| sentences.into_iter().flatten().collect::<Vec<_>>().join(" ")))
}

fn revoked(key: &StoredKey, revocations: &[AccountRevocation], texts: &Messages) -> Option<String> {
    let hosts = key.revoked_on(revocations);
    (!hosts.is_empty()).then(|| fill(texts.revoked_on, &[("hosts", &hosts.join(", "))]))
}

fn key_row(stored: StoredKey, now: Timestamp, texts: &Messages) -> KeyRow {
    KeyRow {
        algorithm: stored.algorithm,
        bits: stored.bits.map(|bits| fill(texts.bits, &[("bits", &bits.to_string())])),
        md5: md5_fingerprint(&stored.text),
        name: stored.name,
        fingerprint: stored.fingerprint.to_string(),
        verified: stored.verified,
        has_expired: stored.expires_at.is_some_and(|expiry| expiry.is_past(now)),
        revoked: None,
        last_used: last_used(stored.last_use.as_ref(), texts),
        added: Moment::from(stored.created_at),
        expires: stored.expires_at.map(Moment::from),
    }
}

fn warning_row(warning: Warning, texts: &Messages) -> WarningRow {
    let is_taken_over = warning.kind == WarningKind::TakenOver.as_str();
    let message = match &warning.text {
        _ if is_taken_over => texts.warning_taken_over,
        // The account that was refused is the one that can prove possession.
        Some(_) => texts.warning_refused,
        None => texts.warning_contested,
    };
    WarningRow {
        text: fill(message, &[("name", &warning.name)]),
        id: warning.id,
        fingerprint: warning.fingerprint.to_string(),
        date: Moment::from(warning.date),
        can_prove: warning.text.is_some(),
    }
}

fn push(console: &Console, keys: &[StoredKey], host_keys: &[HostKey], texts: &Messages) -> PushHelp {
    let example = || PushHost::example();
    let host = console.config.push_host.clone().unwrap_or_else(example);
    let verbose = host.check_command("-v ");
    PushHelp {
        command: host.check_command(""),
        when_refused: Sentence::new(&fill(texts.check_bad, &[("command", &verbose)])),
        last_check: last_check(keys, texts),
        host_keys: host_keys_box(console, &host, host_keys, texts),
        systems: SystemHelp::all(texts),
    }
}

fn host_keys_box(
    console: &Console,
    host: &PushHost,
    host_keys: &[HostKey],
    texts: &Messages,
) -> Option<HostKeysBox> {
    let published = host_keys.iter().filter(|key| key.push_host == *host);
    let keys: Vec<PublishedHostKey> = published
        .map(|key| PublishedHostKey { kind: key.kind().to_owned(), fingerprint: key.fingerprint.to_string() })
        .collect();
    let command =
        |origin: &Origin| format!("curl -fsS {}/known_hosts >> ~/.ssh/known_hosts", origin.as_str());
    (!keys.is_empty()).then(|| HostKeysBox {
        lead: Sentence::new(&fill(texts.check_host_keys, &[("host", &host.to_string())])),
        keys,
        command: console.config.base_url.as_ref().map(command),
    })
}

fn last_used(last_use: Option<&KeyUse>, texts: &Messages) -> String {
    last_use.map_or_else(
        || texts.never_used.to_owned(),
        |used| fill(texts.used_at, &[("time", &Moment::from(used.at).to_string()), ("host", &used.host)]),
    )
}

/// The last time that a host greeted the user, with any key.
fn last_check(keys: &[StoredKey], texts: &Messages) -> String {
    let checks = keys.iter().filter_map(|key| Some((key.last_check.as_ref()?, key.name.as_str())));
    checks.max_by_key(|(check, _)| check.at).map_or_else(
        || texts.check_never.to_owned(),
        |(check, name)| {
            let at = Moment::from(check.at).to_string();
            fill(texts.check_last, &[("time", &at), ("host", &check.host), ("name", name)])
        },
    )
}

/// The contents of the form: a valid key, name and expiry.
struct EnteredKey {
    name: KeyName,
    key: ValidKey,
    text: String,
    expires_at: Option<Expiry>,
}

impl EnteredKey {
    fn read(console: &Console, fields: &Fields, texts: &Messages, by: &SignedIn) -> Result<Self, AddForm> {
        let refused = |field: &'static str, refusal: Sentence| {
            let form = typed(fields);
            // A private key is reported whatever else is wrong.
            let checked = ValidKey::check(form.key.trim(), &console.policy);
            if checked == Err(Refusal::PrivateKey) {
                let refusal = refusals::key(&Refusal::PrivateKey, by.visitor.language);
                AddForm { refusal: Some(refusal), wrong: Some("key"), key: String::new(), ..form }
            } else {
                AddForm { refusal: Some(refusal), wrong: Some(field), ..form }
            }
        };
        let name = read_name(fields.get("name"), texts).map_err(|refusal| refused("name", refusal))?;
        let text = fields.get("key").trim().to_owned();
        let key = ValidKey::check(&text, &console.policy)
            .map_err(|refusal| refused("key", refusals::key(&refusal, by.visitor.language)))?;
        let expires_at = read_expiry(fields.get("expires_on"), texts)
            .map_err(|why| refused("expires_on", Sentence::new(why)))?;
        Ok(Self { name, key, text, expires_at })
    }
}

/// The form with what was typed. The caller makes sure that the key is not a private one.
fn typed(fields: &Fields) -> AddForm {
    AddForm {
        name: fields.get("name").to_owned(),
        key: fields.get("key").to_owned(),
        expires_on: fields.get("expires_on").to_owned(),
        ..AddForm::default()
    }
}

/// The name of a new key.
pub(super) fn read_name(text: &str, texts: &Messages) -> Result<KeyName, Sentence> {
    KeyName::parse(text).map_err(|error: ParseNameError| refusals::name(error, texts))
}

/// The end of the day in UTC, so that the key works on that day.
fn read_expiry(text: &str, texts: &Messages) -> Result<Option<Expiry>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let day = text.parse::<Date>().map_err(|_| texts.expiry_format)?;
    let end = Expiry::end_of(day).map_err(|_| texts.expiry_format)?;
    if end.is_past(Timestamp::now()) { Err(texts.expiry_past) } else { Ok(Some(end)) }
}
