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
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::encryption::{Cipher, EncryptError};
use crate::files::FileError;
use crate::outbound::{Outbound, OutboundError};

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
    fn of(answer: &TokenResponse) -> Self {
        Self {
            access_token: answer.access_token().secret().clone(),
            scopes: answer.scopes().map(|scopes| words(scopes)),
            id_token: answer.extra_fields().id_token.clone(),
            expires_in: answer.expires_in(),
            refresh_token: answer.refresh_token().map(|token| token.secret().clone()),
        }
    }
}

/// Why the other service did not renew a token.
#[derive(Debug, Error)]
pub(crate) enum RenewError {
    /// It was revoked, or used before.
    #[error("the other service no longer accepts the refresh token")]
    Refused,
    /// For another reason than the token.
    #[error("the other service does not renew the token: {0}")]
    Failed(String),
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
    #[error("the other service refused: {0}")]
    Refused(String),
    #[error("the other service's response cannot be read")]
    Malformed,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("a URL of the other service, or of this one, cannot be used")]
    Address(#[from] oauth2::url::ParseError),
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
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
            RequestTokenError::ServerResponse(refusal) => CodeFlowError::Refused(reason(
                refusal.error().as_ref(),
                refusal.error_description().map(String::as_str),
            )),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => CodeFlowError::Malformed,
        })?;
        Ok(Granted::of(&granted))
    }

    /// Renews a token (RFC 6749, section 6). The other service may accept `refresh_token` only once.
    pub(crate) async fn renew(
        &self,
        outbound: &Outbound,
        refresh_token: String,
    ) -> Result<Granted, RenewError> {
        let (client, token) = (self.bare_client()?, RefreshToken::new(refresh_token));
        let asked = client.exchange_refresh_token(&token).request_async(&Http(outbound)).await;
        asked.map(|answer| Granted::of(&answer)).map_err(|error| match error {
            RequestTokenError::Request(error) => error.into(),
            RequestTokenError::ServerResponse(refusal) => match refusal.error().as_ref() {
                // The second is GitHub's own.
                "invalid_grant" | "bad_refresh_token" => RenewError::Refused,
                other => RenewError::Failed(reason(other, None)),
            },
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => RenewError::Malformed,
        })
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
            return Err(CodeFlowError::Refused(reason(error, self.error_description.as_deref())));
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
    let request = outbound.client().request(parts.method, parts.uri.to_string());
    let answer = outbound.send(request.headers(parts.headers).body(body)).await?;
    // GitHub sends refusals with status 200.
    let is_refusal =
        serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body.get("error").is_some());
    let mut response = http::Response::new(answer.body);
    *response.status_mut() = if is_refusal { http::StatusCode::BAD_REQUEST } else { answer.status };
    *response.headers_mut() = answer.headers;
    Ok(response)
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
