//! Proof of possession, and warnings about ownership conflicts.

use axum::Json;
use axum::extract::{Path, Request, State};
use pushkeys_keys::AccountId;
use serde::Serialize;

use super::caller::Caller;
use super::error::ApiError;
use super::key_request::{check_key, json_string, name_in_path};
use super::state::Api;
use crate::proof::{self, Proof, ProofRefusal};
use crate::store::PutKeyError;

const CHALLENGE: &str = "challenge";
const PROOF: &str = "proof";

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ProofReply {
    Challenge {
        challenge: String,
        namespace: &'static str,
        /// The command that prints the signature.
        command: String,
        expires_at: String,
    },
    Proved {
        id: u32,
        message: &'static str,
        r#type: &'static str,
    },
}

const PROVED: ProofReply = ProofReply::Proved {
    id: 500,
    message: "Possession of the key is proved, and it was stored",
    r#type: "success",
};

/// `POST /v2/self/keys/{name}/challenge` with the key, and `POST /v2/self/keys/{name}/proof` with the signature.
pub(super) async fn post(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<Json<ProofReply>, ApiError> {
    // A slash in a name is percent-encoded, so the last one precedes the action.
    let path = request.uri().path().to_owned();
    match path.rsplit_once('/') {
        Some((_, CHALLENGE)) => ask(&api, &caller.account, request).await,
        Some((key_path, PROOF)) => answer(&api, &caller, key_path, request).await,
        _ => Err(ApiError::unknown_method()),
    }
    .map(Json)
}

async fn ask(api: &Api, account: &AccountId, request: Request) -> Result<ProofReply, ApiError> {
    let text = json_string(api, request).await?;
    let text = text.trim();
    let key = check_key(api, text)?;
    if !proof::can_verify(&key) {
        return Err(ApiError::refused_put(
            "this service cannot verify signatures of ssh-mldsa44-ed25519 or of RSA keys above 8192 bits yet, so such a key cannot be proved: use a key of another type",
        ));
    }
    let fingerprint = key.fingerprint();
    let challenge =
        api.service_url.new_challenge(account, fingerprint).map_err(|error| ApiError::failed(&error))?;
    let expires_at = api.store.add_challenge(account, fingerprint, text, &challenge).await?;
    Ok(ProofReply::Challenge {
        command: proof::command(&challenge),
        challenge,
        namespace: proof::NAMESPACE,
        expires_at: expires_at.to_string(),
    })
}

async fn answer(
    api: &Api,
    Caller { account, actor, .. }: &Caller,
    key_path: &str,
    request: Request,
) -> Result<ProofReply, ApiError> {
    let name = name_in_path(key_path)?;
    let text = json_string(api, request).await?;
    let proof = Proof::parse(&text).map_err(|error| ApiError::refused_put(error.to_string()))?;
    let waiting = api.store.challenge(account, proof.fingerprint()).await;
    let waiting = waiting.map_err(|error| ApiError::unavailable(&error))?;
    let challenge = waiting.ok_or(PutKeyError::NoChallenge)?;
    proof.check(&challenge.text).map_err(|why| {
        let why = match why {
            ProofRefusal::Other => "this signature is not one of the last challenge for this key: run its command again",
            ProofRefusal::NotTouched => {
                "the security key signed without being touched, which proves nothing: use a key that was made without \
                 `no-touch-required`, run the command again and touch the key when it blinks"
            }
        };
        ApiError::refused_put(format!("{why}, {}", proof::command(&challenge.text)))
    })?;
    let key = check_key(api, &challenge.key_text)?;
    api.store.prove_key(account, &name, &key, &challenge, true, actor).await?;
    Ok(PROVED)
}

#[derive(Serialize)]
pub(super) struct ListedWarning {
    id: String,
    kind: String,
    fingerprint: String,
    name: String,
    date: String,
}

/// `GET /v2/self/warnings`
pub(super) async fn warnings(
    State(api): State<Api>,
    Caller { account, .. }: Caller,
) -> Result<Json<Vec<ListedWarning>>, ApiError> {
    let warnings = api.store.warnings(&account).await.map_err(|error| ApiError::unavailable(&error))?;
    let rows = warnings.into_iter().map(|warning| ListedWarning {
        id: warning.id,
        kind: warning.kind,
        fingerprint: warning.fingerprint.to_string(),
        name: warning.name,
        date: warning.date.to_string(),
    });
    Ok(Json(rows.collect()))
}

#[derive(Serialize)]
pub(super) struct Dismissed {
    id: u32,
    message: &'static str,
    r#type: &'static str,
}

const DISMISSED: Dismissed = Dismissed { id: 502, message: "The warning was dismissed", r#type: "success" };

/// `DELETE /v2/self/warnings/{id}`
pub(super) async fn dismiss(
    State(api): State<Api>,
    Caller { account, .. }: Caller,
    Path(id): Path<String>,
) -> Result<Json<Dismissed>, ApiError> {
    let dismissed = api.store.dismiss_warning(&account, &id).await;
    if dismissed.map_err(|error| ApiError::unavailable(&error))? {
        Ok(Json(DISMISSED))
    } else {
        Err(ApiError::no_such_warning())
    }
}
