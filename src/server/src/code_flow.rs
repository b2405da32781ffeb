//! OAuth 2.0's authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636, S256).
//!
//! Its state is an encrypted cookie of the browser, bound to the session that began the flow. So unauthenticated clients
//! cannot fill a table of ours, and any replica can continue.

use std::pin::Pin;
use std::time::Duration;

use axum::http;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::encryption::{Cipher, EncryptError};
use crate::files::FileError;
use crate::outbound::{Outbound, OutboundError, Remedy};

/// How long a user may take at the other service, in milliseconds.
const ATTEMPT_AGE_MS_MAX: i64 = 10 * 60 * 1000;
/// The longest `code` or `state` in bytes.
const PARAMETER_BYTES_MAX: usize = 4096;
/// How much of the other service's reason is shown to the user.
const REASON_CHARACTERS_MAX: usize = 200;

/// Why another service cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ClientSetupError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    #[error(transparent)]
    Outbound(#[from] OutboundError),
}

/// Both sides of the flow: the other service, and this one as its client.
///
/// Deliberately without `Debug`: it holds a secret.
#[derive(Clone)]
pub(crate) struct CodeFlowClient {
    /// Where the user agrees or refuses.
    pub(crate) authorization_url: String,
    /// Where a code is exchanged.
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Whether the secret goes into the body of the request (`client_secret_post`) or its header.
    pub(crate) is_secret_in_body: bool,
    pub(crate) scopes: Vec<String>,
}

/// The state of a flow while the browser is at the other service.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attempt {
    state: String,
    verifier: String,
    /// The ID token has to repeat it (OpenID Connect Core, section 3.1.2.1).
    pub(crate) nonce: String,
    /// The page of ours that the user wanted to see.
    pub(crate) next: String,
    /// Where the browser comes back to; the token request has to repeat it.
    redirect_url: String,
    expires_at_ms: i64,
}

/// The query that the browser comes back with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    /// The issuer of the response (RFC 9207).
    pub(crate) iss: Option<String>,
}

/// What the other service returns for a code.
pub(crate) struct Granted {
    /// By which we ask in the person's name; empty where an ID token is all there is.
    pub(crate) access_token: String,
    /// `None`: exactly those that were requested.
    pub(crate) scopes: Option<Vec<String>>,
    /// Only from OpenID Connect.
    pub(crate) id_token: Option<String>,
    /// How long the access token is valid; `None`: until it is revoked, or not known.
    pub(crate) expires_in: Option<Duration>,
    /// Redeemed for the next access token.
    pub(crate) refresh_token: Option<String>,
}

impl Granted {
    /// What `answer` grants, if that is anything.
    fn of(answer: &TokenResponse) -> Option<Self> {
        let has_token =
            !answer.access_token().secret().is_empty() || answer.extra_fields().id_token.is_some();
        has_token.then(|| Self {
            access_token: answer.access_token().secret().clone(),
            scopes: answer.scopes().map(|scopes| words(scopes)),
            id_token: answer.extra_fields().id_token.clone(),
            expires_in: answer.expires_in(),
            refresh_token: answer.refresh_token().map(|token| token.secret().clone()),
        })
    }
}

/// Why the other service did not renew a token.
#[derive(Debug, Error)]
pub(crate) enum RenewError {
    /// It was revoked, or used before.
    #[error("the other service no longer accepts the refresh token")]
    Refused,
    /// For another reason than the token.
    #[error("the other service does not renew the token: {reason}")]
    Failed {
        /// In its words.
        reason: String,
        remedy: Remedy,
    },
    #[error("the other service's response cannot be read")]
    Malformed,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("a URL of the other service cannot be used")]
    Address(#[from] oauth2::url::ParseError),
}

/// Why a flow failed.
#[derive(Debug, Error)]
pub(crate) enum CodeFlowError {
    /// Of another browser or session, too late, or for the second time.
    #[error("this answer belongs to no attempt that was begun in this browser within 10 minutes")]
    NoAttempt,
    /// The user or the other service refused.
    #[error("the other service refused: {reason}")]
    Refused {
        /// In its words.
        reason: String,
        remedy: Remedy,
    },
    #[error("the other service's response cannot be read")]
    Malformed,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("a URL of the other service, or of this one, cannot be used")]
    Address(#[from] oauth2::url::ParseError),
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
}

impl CodeFlowError {
    fn refused(code: &str, description: Option<&str>) -> Self {
        Self::Refused { reason: reason(code, description), remedy: remedy(code) }
    }

    /// What helps against it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::NoAttempt => Remedy::Repeat,
            Self::Refused { remedy, .. } => *remedy,
            Self::Outbound(error) => error.remedy(),
            Self::Malformed | Self::Address(_) | Self::Encrypt(_) => Remedy::Operator,
        }
    }
}

impl RenewError {
    /// What helps against it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Refused => Remedy::Repeat,
            Self::Failed { remedy, .. } => *remedy,
            Self::Outbound(error) => error.remedy(),
            Self::Malformed | Self::Address(_) => Remedy::Operator,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct IdToken {
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type TokenResponse = StandardTokenResponse<IdToken, BasicTokenType>;

type Client = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl CodeFlowClient {
    /// The URL that the browser is sent to, with `more` in its query, and the state until it comes back to
    /// `redirect_url`.
    pub(crate) fn begin(
        &self,
        redirect_url: String,
        more: &[(&'static str, String)],
    ) -> Result<(Url, Attempt), CodeFlowError> {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = CsrfToken::new_random().into_secret();
        let scopes = self.scopes.iter().cloned().map(Scope::new);
        let client = self.client(&redirect_url)?;
        let request = client.authorize_url(CsrfToken::new_random).add_scopes(scopes);
        let request =
            more.iter().fold(request, |request, (name, value)| request.add_extra_param(*name, value));
        let (url, state) = request.add_extra_param("nonce", &nonce).set_pkce_challenge(challenge).url();
        let (state, verifier) = (state.into_secret(), verifier.into_secret());
        let expires_at_ms = now_ms() + ATTEMPT_AGE_MS_MAX;
        Ok((url, Attempt { state, verifier, nonce, next: String::new(), redirect_url, expires_at_ms }))
    }

    /// Redeems the code of `callback`, which answers `attempt`.
    pub(crate) async fn redeem(
        &self,
        outbound: &Outbound,
        attempt: &Attempt,
        callback: &Callback,
    ) -> Result<Granted, CodeFlowError> {
        let code = callback.code_for(attempt)?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let client = self.client(&attempt.redirect_url)?;
        let request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        let granted = request.request_async(&Http(outbound)).await.map_err(|error| match error {
            RequestTokenError::Request(error) => error.into(),
            RequestTokenError::ServerResponse(refusal) => CodeFlowError::refused(
                refusal.error().as_ref(),
                refusal.error_description().map(String::as_str),
            ),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => CodeFlowError::Malformed,
        })?;
        Granted::of(&granted).ok_or(CodeFlowError::Malformed)
    }

    /// Renews a token (RFC 6749, section 6). The other service may accept `refresh_token` only once.
    pub(crate) async fn renew(
        &self,
        outbound: &Outbound,
        refresh_token: String,
    ) -> Result<Granted, RenewError> {
        let (client, token) = (self.bare_client()?, RefreshToken::new(refresh_token));
        let asked = client.exchange_refresh_token(&token).request_async(&Http(outbound)).await;
        let granted = asked.map_err(|error| match error {
            RequestTokenError::Request(error) => error.into(),
            RequestTokenError::ServerResponse(refusal) => match refusal.error().as_ref() {
                // The second is GitHub's own.
                "invalid_grant" | "bad_refresh_token" => RenewError::Refused,
                other => RenewError::Failed { reason: reason(other, None), remedy: remedy(other) },
            },
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => RenewError::Malformed,
        })?;
        Granted::of(&granted).ok_or(RenewError::Malformed)
    }

    fn client(&self, redirect_url: &str) -> Result<Client, CodeFlowError> {
        Ok(self.bare_client()?.set_redirect_uri(RedirectUrl::new(redirect_url.to_owned())?))
    }

    fn bare_client(&self) -> Result<Client, oauth2::url::ParseError> {
        let auth_type = if self.is_secret_in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(oauth2::Client::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.clone()))
            .set_auth_type(auth_type)
            .set_auth_uri(AuthUrl::new(self.authorization_url.clone())?)
            .set_token_uri(TokenUrl::new(self.token_url.clone())?))
    }
}

impl Attempt {
    /// When it began, in seconds since 1970.
    pub(crate) fn begun_at_s(&self) -> i64 {
        self.expires_at_ms.saturating_sub(ATTEMPT_AGE_MS_MAX).div_euclid(1_000)
    }

    /// The value of a cookie, encrypted for `context`: the purpose and the session.
    pub(crate) fn encrypt(&self, cipher: &Cipher, context: &str) -> Result<String, CodeFlowError> {
        let text = serde_json::to_vec(self).map_err(|_| CodeFlowError::Malformed)?;
        Ok(Base64UrlUnpadded::encode_string(&cipher.encrypt(context, &text)?))
    }

    /// The attempt in the value of a cookie, if it began for `context` and not too long ago.
    pub(crate) fn decrypt(cipher: &Cipher, context: &str, cookie: &str) -> Result<Self, CodeFlowError> {
        let bytes = Base64UrlUnpadded::decode_vec(cookie).map_err(|_| CodeFlowError::NoAttempt)?;
        let text = cipher.decrypt(context, &bytes).ok_or(CodeFlowError::NoAttempt)?;
        let attempt: Self = serde_json::from_slice(&text).map_err(|_| CodeFlowError::NoAttempt)?;
        if attempt.expires_at_ms > now_ms() { Ok(attempt) } else { Err(CodeFlowError::NoAttempt) }
    }
}

impl Callback {
    fn code_for(&self, attempt: &Attempt) -> Result<String, CodeFlowError> {
        let is_ours = self.state.as_ref().is_some_and(|state| {
            state.len() <= PARAMETER_BYTES_MAX && bool::from(state.as_bytes().ct_eq(attempt.state.as_bytes()))
        });
        // A refusal too could be the answer to another attempt.
        if !is_ours {
            return Err(CodeFlowError::NoAttempt);
        }
        if let Some(error) = &self.error {
            return Err(CodeFlowError::refused(error, self.error_description.as_deref()));
        }
        match &self.code {
            Some(code) if !code.is_empty() && code.len() <= PARAMETER_BYTES_MAX => Ok(code.clone()),
            _ => Err(CodeFlowError::Malformed),
        }
    }
}

/// GitHub separates scopes by commas, RFC 6749 by spaces.
fn words(scopes: &[Scope]) -> Vec<String> {
    let words = scopes.iter().flat_map(|scope| scope.split([',', ' ']));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A refusal as it is shown to the user: escaped and shortened, since the other service wrote it.
fn reason(error: &str, description: Option<&str>) -> String {
    let text = description.unwrap_or(error);
    pushkeys_keys::escape(text).chars().take(REASON_CHARACTERS_MAX).collect()
}

/// What helps against a refusal with this code (RFC 6749, sections 4.1.2.1 and 5.2, and GitHub's own).
fn remedy(code: &str) -> Remedy {
    match code {
        "temporarily_unavailable" | "server_error" | "slow_down" => Remedy::Wait,
        "invalid_client"
        | "unauthorized_client"
        | "invalid_request"
        | "invalid_scope"
        | "unsupported_grant_type"
        | "unsupported_response_type"
        | "incorrect_client_credentials"
        | "redirect_uri_mismatch"
        | "application_suspended" => Remedy::Operator,
        _ => Remedy::Repeat,
    }
}

/// [`Outbound`] as the HTTP client of the `oauth2` crate.
struct Http<'a>(&'a Outbound);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = OutboundError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, OutboundError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(send(self.0, request))
    }
}

async fn send(outbound: &Outbound, request: HttpRequest) -> Result<HttpResponse, OutboundError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let request = outbound.client().request(parts.method, &url);
    let answer = outbound.send(request.headers(parts.headers).body(body)).await?;
    let members = serde_json::from_slice(&answer.body).ok();
    let (status, body) = match members.as_ref().and_then(refusal) {
        // GitHub sends refusals with status 200.
        Some(refusal) => (http::StatusCode::BAD_REQUEST, refusal),
        None if answer.status.is_success() => {
            (http::StatusCode::OK, members.as_ref().map(grant).unwrap_or_default())
        }
        None => return Err(OutboundError::Status { url, status: answer.status }),
    };
    let mut response = http::Response::new(body.to_string().into_bytes());
    *response.status_mut() = status;
    Ok(response)
}

/// Of what the other service says when it refuses, what is needed, in the form that the library reads. A member `error` that
/// is no text refuses nothing.
fn refusal(answer: &Value) -> Option<Value> {
    let code = answer.get("error")?.as_str().filter(|code| !code.is_empty())?;
    Some(
        json!({ "error": code, "error_description": answer.get("error_description").and_then(Value::as_str) }),
    )
}

/// The same of what it says when it grants. RFC 6749 (section 5.1) says how all of it is written; services write it otherwise,
/// and what is not needed must not cost a user the sign-in.
fn grant(answer: &Value) -> Value {
    let text = |member: &str| answer.get(member).and_then(Value::as_str);
    let scopes = match answer.get("scope") {
        Some(Value::String(scopes)) => Some(scopes.clone()),
        Some(Value::Array(scopes)) => {
            Some(scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    json!({
        "access_token": text("access_token").unwrap_or_default(),
        "token_type": "bearer",
        "expires_in": answer.get("expires_in").and_then(seconds),
        "scope": scopes,
        "refresh_token": text("refresh_token").filter(|token| !token.is_empty()),
        "id_token": text("id_token"),
    })
}

/// A length of time in seconds, as a number or as a text with one.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|seconds| seconds as u64)),
        _ => None,
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> CodeFlowClient {
        CodeFlowClient {
            authorization_url: "https://id.example.com/authorize?tenant=a".into(),
            token_url: "https://id.example.com/token".into(),
            client_id: "us".into(),
            client_secret: "hush".into(),
            is_secret_in_body: true,
            scopes: vec!["openid".into()],
        }
    }

    fn callback(state: &str) -> Callback {
        Callback { code: Some("code".into()), state: Some(state.into()), ..Callback::default() }
    }

    #[test]
    fn a_browser_is_sent_with_a_state_a_nonce_and_a_challenge_and_without_any_secret() {
        let (url, attempt) = client().begin("https://keys.example.com/back".into(), &[]).unwrap();
        let query: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
        let expected = [
            ("tenant", "a"),
            ("response_type", "code"),
            ("client_id", "us"),
            ("redirect_uri", "https://keys.example.com/back"),
            ("scope", "openid"),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in expected {
            assert_eq!(query[name], value, "{name}");
        }
        assert!(!url.as_str().contains(&attempt.verifier) && !url.as_str().contains("hush"), "{url}");
    }

    #[test]
    fn what_is_not_needed_of_an_answer_may_be_anything() {
        let check = |answer: Value, expires_in_s: Option<u64>, scopes: Option<&[&str]>, has_renewal: bool| {
            assert_eq!(refusal(&answer), None, "{answer}");
            let read: TokenResponse = serde_json::from_value(grant(&answer)).unwrap();
            let granted = Granted::of(&read).unwrap();
            assert_eq!(granted.access_token, "a");
            assert_eq!(granted.expires_in.map(|age| age.as_secs()), expires_in_s, "{answer}");
            assert_eq!(
                granted.scopes,
                scopes.map(|scopes| scopes.iter().map(|&one| one.to_owned()).collect())
            );
            assert_eq!(granted.refresh_token.is_some(), has_renewal, "{answer}");
        };
        check(json!({"access_token": "a"}), None, None, false);
        check(json!({"access_token": "a", "token_type": "Bearer", "expires_in": 60}), Some(60), None, false);
        check(json!({"access_token": "a", "token_type": 7, "expires_in": "60"}), Some(60), None, false);
        check(json!({"access_token": "a", "expires_in": 59.9}), Some(59), None, false);
        check(json!({"access_token": "a", "expires_in": -1, "error": null}), Some(0), None, false);
        check(json!({"access_token": "a", "expires_in": null, "error": ""}), None, None, false);
        check(json!({"access_token": "a", "scope": "b c,d"}), None, Some(&["b", "c", "d"]), false);
        check(json!({"access_token": "a", "scope": ["b", 7, "c"]}), None, Some(&["b", "c"]), false);
        check(json!({"access_token": "a", "scope": ""}), None, Some(&[]), false);
        check(json!({"access_token": "a", "scope": {}, "refresh_token": ""}), None, None, false);
        check(json!({"access_token": "a", "refresh_token": "r", "id_token": 7}), None, None, true);
        for nothing in
            [json!({}), json!([]), json!({"access_token": ""}), json!({"access_token": {"a": "b"}})]
        {
            let read: TokenResponse = serde_json::from_value(grant(&nothing)).unwrap();
            assert!(Granted::of(&read).is_none(), "{nothing}");
        }
    }

    #[test]
    fn a_refusal_says_what_helps_against_it() {
        let refused =
            |answer: Value| refusal(&answer).and_then(|refusal| Some(refusal["error"].as_str()?.to_owned()));
        assert_eq!(
            refused(json!({"error": "invalid_grant", "error_description": 7})),
            Some("invalid_grant".into())
        );
        assert_eq!(refused(json!({"error": {"code": 7}})), None);
        assert_eq!(remedy("access_denied"), Remedy::Repeat);
        assert_eq!(remedy("bad_verification_code"), Remedy::Repeat);
        assert_eq!(remedy("temporarily_unavailable"), Remedy::Wait);
        assert_eq!(remedy("invalid_client"), Remedy::Operator);
        assert_eq!(remedy("incorrect_client_credentials"), Remedy::Operator);
    }

    #[test]
    fn an_attempt_goes_on_only_in_the_session_that_began_it_and_not_for_long() {
        let cipher = Cipher::new(&[1; 32]).unwrap();
        let (_, mut attempt) = client().begin("https://keys.example.com/back".into(), &[]).unwrap();
        let cookie = attempt.encrypt(&cipher, "link session_1").unwrap();
        assert_eq!(Attempt::decrypt(&cipher, "link session_1", &cookie).unwrap().state, attempt.state);
        assert!(Attempt::decrypt(&cipher, "link session_2", &cookie).is_err());
        assert!(Attempt::decrypt(&cipher, "link session_1", "").is_err());
        attempt.expires_at_ms = now_ms();
        let cookie = attempt.encrypt(&cipher, "link session_1").unwrap();
        assert!(Attempt::decrypt(&cipher, "link session_1", &cookie).is_err());
    }

    #[test]
    fn a_code_is_taken_with_the_state_of_its_attempt_and_with_no_other() {
        let (_, attempt) = client().begin("https://keys.example.com/back".into(), &[]).unwrap();
        assert_eq!(callback(&attempt.state).code_for(&attempt).unwrap(), "code");
        for state in ["", "x", &attempt.nonce] {
            assert!(matches!(callback(state).code_for(&attempt), Err(CodeFlowError::NoAttempt)), "{state}");
        }
        assert!(matches!(Callback::default().code_for(&attempt), Err(CodeFlowError::NoAttempt)));
        let denied = Callback { error: Some("access_denied\n".into()), ..callback(&attempt.state) };
        let refusal = denied.code_for(&attempt).unwrap_err().to_string();
        assert!(refusal.ends_with("access_denied\\n"), "{refusal}");
    }
}
