//! Proof of possession: the page with challenge and command, and the form for the signature.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use pushkeys_keys::{AccountId, Fingerprint, KeyName, ValidKey};
use serde::Deserialize;

use super::keys::{page as keys_page, read_name};
use super::messages::fill;
use super::pages::{self, AddForm, ProofPage, Section};
use super::paths::{self, to_keys};
use super::posted::{Fields, Posted};
use super::state::Console;
use super::text::{Moment, Sentence};
use super::visitor::SignedIn;
use super::{confirm, refusals};
use crate::percent;
use crate::proof::{self, Proof, ProofRefusal};
use crate::store::{Challenge, PutKeyError, StoreError};

/// The query of the page: which challenge it is about.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ProofQuery {
    fingerprint: String,
    name: String,
}

/// `POST /users/me/ssh-keys/challenge`, for a key of the account, a key that a warning is about, or one that was typed.
pub(super) async fn ask(State(console): State<Console>, Posted { by, fields }: Posted) -> Response {
    let found = match wanted(&console, &by.session.account, &fields).await {
        Ok(found) => found,
        Err(error) => return by.failed(&error),
    };
    let Some((name, text)) = found else { return to_keys("gone") };
    let name = match read_name(&name, by.texts()) {
        Ok(name) => name,
        Err(refusal) => return refused(&console, &by, refusal).await,
    };
    let key = match ValidKey::check(text.trim(), &console.policy) {
        Ok(key) => key,
        Err(refusal) => {
            return refused(&console, &by, refusals::key(&refusal, by.visitor.language)).await;
        }
    };
    if !proof::can_verify(&key) {
        return refused(&console, &by, Sentence::new(by.texts().proof_impossible)).await;
    }
    let fingerprint = key.fingerprint();
    let challenge = match console.service_url.new_challenge(&by.session.account, fingerprint) {
        Ok(challenge) => challenge,
        Err(error) => return by.visitor.failed(&error),
    };
    match console.store.add_challenge(&by.session.account, fingerprint, text.trim(), &challenge).await {
        Ok(_) => Redirect::to(&path(fingerprint, &name)).into_response(),
        Err(PutKeyError::Store(error)) => by.failed(&error),
        Err(_) => to_keys("gone"),
    }
}

/// Name and text of the key that the form means.
async fn wanted(
    console: &Console,
    account: &AccountId,
    fields: &Fields,
) -> Result<Option<(String, String)>, StoreError> {
    let (held, warning) = (fields.get("held"), fields.get("warning"));
    if !held.is_empty() {
        let keys = console.store.keys(account).await?;
        return Ok(keys.into_iter().find(|key| key.name == held).map(|key| (key.name, key.text)));
    }
    if !warning.is_empty() {
        let warnings = console.store.warnings(account).await?;
        let found = warnings.into_iter().find(|known| known.id == warning);
        return Ok(found.and_then(|warning| Some((warning.name, warning.text?))));
    }
    Ok(Some((fields.get("name").to_owned(), fields.get("key").to_owned())))
}

async fn refused(console: &Console, by: &SignedIn, refusal: Sentence) -> Response {
    keys_page(console, by, AddForm { refusal: Some(refusal), ..AddForm::default() }, None).await
}

fn path(fingerprint: Fingerprint, name: &KeyName) -> String {
    let fingerprint = percent::encode(&fingerprint.to_string());
    format!("{}?fingerprint={fingerprint}&name={}", paths::PROOF, percent::encode(name.as_str()))
}

/// `GET /users/me/ssh-keys/proof`
pub(super) async fn show(
    State(console): State<Console>,
    by: SignedIn,
    asked: Result<Query<ProofQuery>, QueryRejection>,
) -> Response {
    let ProofQuery { fingerprint, name } = asked.map(|Query(asked)| asked).unwrap_or_default();
    let (Ok(fingerprint), Ok(name)) = (fingerprint.parse(), KeyName::parse(&name)) else {
        return to_keys("gone");
    };
    match console.store.challenge(&by.session.account, fingerprint).await {
        Ok(Some(challenge)) => proof_page(&by, fingerprint, &name, &challenge, None),
        Ok(None) => refused(&console, &by, Sentence::new(by.texts().proof_none)).await,
        Err(error) => by.failed(&error),
    }
}

/// A signature that was refused, and why.
struct NoProof {
    signature: String,
    refusal: Sentence,
}

fn proof_page(
    by: &SignedIn,
    fingerprint: Fingerprint,
    name: &KeyName,
    challenge: &Challenge,
    no_proof: Option<NoProof>,
) -> Response {
    let texts = by.texts();
    let algorithm = challenge.key_text.split(' ').next().unwrap_or_default();
    let file = usual_file(algorithm);
    let page = by.page(Section::Keys);
    let status = if no_proof.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let (signature, refusal) =
        no_proof.map_or_else(Default::default, |wrong| (wrong.signature, Some(wrong.refusal)));
    let template = ProofPage {
        page: if refusal.is_some() { page.with_error() } else { page },
        name: name.as_str().to_owned(),
        fingerprint: fingerprint.to_string(),
        command: proof::command(&challenge.text).replace("KEYFILE", &format!("~/.ssh/{file}")),
        step_file: Sentence::new(&fill(texts.proof_step_file, &[("file", file)])),
        until: fill(texts.proof_until, &[("time", &Moment::from(challenge.expires_at).to_string())]),
        signature,
        refusal,
    };
    pages::render(status, &template)
}

/// The default file of ssh-keygen for a key of this type.
fn usual_file(algorithm: &str) -> &'static str {
    match algorithm {
        "ssh-rsa" => "id_rsa",
        "ssh-mldsa44-ed25519" => "id_mldsa44_ed25519",
        "sk-ssh-ed25519@openssh.com" => "id_ed25519_sk",
        "sk-ecdsa-sha2-nistp256@openssh.com" => "id_ecdsa_sk",
        _ if algorithm.starts_with("ecdsa-") => "id_ecdsa",
        _ => "id_ed25519",
    }
}

/// `POST /users/me/ssh-keys/proof`
pub(super) async fn answer(State(console): State<Console>, posted: Posted) -> Response {
    if let Err(response) = confirm::check(&console, &posted, &confirm::PROVE_KEY).await {
        return response;
    }
    let Posted { by, fields } = posted;
    let texts = by.texts();
    let (Ok(fingerprint), Ok(name)) =
        (fields.get("fingerprint").parse::<Fingerprint>(), read_name(fields.get("name"), texts))
    else {
        return to_keys("gone");
    };
    let challenge = match console.store.challenge(&by.session.account, fingerprint).await {
        Ok(Some(challenge)) => challenge,
        Ok(None) => return refused(&console, &by, Sentence::new(texts.proof_none)).await,
        Err(error) => return by.failed(&error),
    };
    let refusal = match Proof::parse(fields.get("signature")) {
        Err(_) => Some(texts.proof_not_a_signature),
        Ok(proof) if proof.fingerprint() != fingerprint => Some(texts.proof_wrong),
        Ok(proof) => proof.check(&challenge.text).err().map(|why| match why {
            ProofRefusal::Other => texts.proof_wrong,
            ProofRefusal::NotTouched => texts.proof_not_touched,
        }),
    };
    if let Some(refusal) = refusal {
        let no_proof =
            NoProof { signature: fields.get("signature").to_owned(), refusal: Sentence::new(refusal) };
        return proof_page(&by, fingerprint, &name, &challenge, Some(no_proof));
    }
    take(&console, &by, &name, &challenge).await
}

/// Registers the key to the account, which has proved possession of it.
async fn take(console: &Console, by: &SignedIn, name: &KeyName, challenge: &Challenge) -> Response {
    let key = match ValidKey::check(&challenge.key_text, &console.policy) {
        Ok(key) => key,
        Err(refusal) => return refused(console, by, refusals::key(&refusal, by.visitor.language)).await,
    };
    let account = &by.session.account;
    match console.store.prove_key(account, name, &key, challenge, false, &by.actor()).await {
        Ok(_) => to_keys("proved"),
        Err(PutKeyError::Store(error)) => by.failed(&error),
        Err(error) => match refusals::put(&error, name.as_str(), by.texts()) {
            Some(refusal) => refused(console, by, refusal).await,
            None => to_keys("gone"),
        },
    }
}
