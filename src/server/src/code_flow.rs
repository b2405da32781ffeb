//! OAuth 2.0's authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636, S256): how a person's browser
//! brings us the word of another service.
//!
//! What must be remembered between leaving and coming back is sealed into a cookie of that browser, bound to the
//! session that began: no stranger can fill a table of ours, and any replica can go on.

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

use crate::files::FileError;
use crate::outbound::{Outbound, OutboundError};
use crate::seal::{SealError, Sealer};

/// How long a person may take at the other service, in milliseconds.
const ATTEMPT_AGE_MS_MAX: i64 = 10 * 60 * 1000;
/// The longest `code` or `state` that is looked at, in bytes.
const PARAMETER_BYTES_MAX: usize = 4096;
/// How much of the other service's reason is repeated to the person.
const REASON_CHARACTERS_MAX: usize = 200;

/// Why another service cannot be used.
#[derive(Debug, Error)]
pub(crate) enum PrepareError {
    /// Our secret there.
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Outbound(#[from] OutboundError),
}

/// What the flow needs to know of the other service and of us.
///
/// Deliberately without `Debug`: it holds a secret.
#[derive(Clone)]
pub(crate) struct Parties {
    /// Where a person says yes or no.
    pub(crate) authorization_url: String,
    /// Where a code is exchanged.
    pub(crate) token_url: String,
    /// Our name there.
    pub(crate) client_id: String,
    /// Our secret there.
    pub(crate) client_secret: String,
    /// Whether the secret goes into the body of the request (`client_secret_post`) or its header.
    pub(crate) is_secret_in_body: bool,
    /// What is asked for.
    pub(crate) scopes: Vec<String>,
}

/// What is remembered while the browser is away.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attempt {
    state: String,
    verifier: String,
    /// Also in the ID token that answers this attempt (OpenID Connect Core, section 3.1.2.1).
    pub(crate) nonce: String,
    /// The page of ours that the person wanted to see.
    pub(crate) next: String,
    /// Where the browser comes back to; the token is asked for with the same.
    redirect_url: String,
    expires_at_ms: i64,
}

/// What the browser brings back in the query.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    /// Who answers (RFC 9207).
    pub(crate) iss: Option<String>,
}

/// What the other service gives for a code.
pub(crate) struct Granted {
    /// By which we ask in the person's name.
    pub(crate) access_token: String,
    /// `None`: exactly those that were asked for.
    pub(crate) scopes: Option<Vec<String>>,
    /// Only OpenID Connect has one.
    pub(crate) id_token: Option<String>,
    /// For how long the access token is good; `None`: until it is taken back, or not said.
    pub(crate) expires_in: Option<Duration>,
    /// What gets the next access token.
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

/// Why the other service gave no token in place of one that has ended.
#[derive(Debug, Error)]
pub(crate) enum RenewError {
    /// It was taken back, or used before.
    #[error("the other service no longer takes the refresh token")]
    Refused,
    /// What is wrong is not the token.
    #[error("the other service renews no token: {0}")]
    Failed(String),
    /// Neither yes nor no.
    #[error("the other service's answer cannot be read")]
    Malformed,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// An address that is none.
    #[error("an address of the other service cannot be used")]
    Address(#[from] oauth2::url::ParseError),
}

/// Why a browser that came back brought nothing.
#[derive(Debug, Error)]
pub(crate) enum CodeFlowError {
    /// Another browser, another session, too late, or for the second time.
    #[error("this answer belongs to no attempt that was begun in this browser within 10 minutes")]
    NoAttempt,
    /// The person, or the other service, said no.
    #[error("the other service refused: {0}")]
    Refused(String),
    /// Neither yes nor no.
    #[error("the other service's answer cannot be read")]
    Malformed,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// An address that is none.
    #[error("an address of the other service, or of this one, cannot be used")]
    Address(#[from] oauth2::url::ParseError),
    #[error(transparent)]
    Seal(#[from] SealError),
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

impl Parties {
    /// Where the browser is sent to, and what to remember until it comes back to `redirect_url`. `more`
    /// stands in the query too.
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

    /// What the other service gives for the code that `callback` brings in answer to `attempt`.
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

    /// What the other service gives in place of a token that has ended (RFC 6749, section 6). It may take `refresh_token`
    /// no second time.
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
    /// When it was begun, in seconds since 1970.
    pub(crate) fn begun_at_s(&self) -> i64 {
        self.expires_at_ms.saturating_sub(ATTEMPT_AGE_MS_MAX).div_euclid(1_000)
    }

    /// The value of a cookie that only `context`, the purpose and the session, can open.
    pub(crate) fn seal(&self, sealer: &Sealer, context: &str) -> Result<String, CodeFlowError> {
        let text = serde_json::to_vec(self).map_err(|_| CodeFlowError::Malformed)?;
        Ok(Base64UrlUnpadded::encode_string(&sealer.seal(context, &text)?))
    }

    /// The attempt in the value of a cookie, if it was begun for `context` and not long ago.
    pub(crate) fn open(sealer: &Sealer, context: &str, cookie: &str) -> Result<Self, CodeFlowError> {
        let bytes = Base64UrlUnpadded::decode_vec(cookie).map_err(|_| CodeFlowError::NoAttempt)?;
        let text = sealer.open(context, &bytes).ok_or(CodeFlowError::NoAttempt)?;
        let attempt: Self = serde_json::from_slice(&text).map_err(|_| CodeFlowError::NoAttempt)?;
        if attempt.expires_at_ms > now_ms() { Ok(attempt) } else { Err(CodeFlowError::NoAttempt) }
    }
}

impl Callback {
    fn code_for(&self, attempt: &Attempt) -> Result<String, CodeFlowError> {
        let is_ours = self.state.as_ref().is_some_and(|state| {
            state.len() <= PARAMETER_BYTES_MAX && bool::from(state.as_bytes().ct_eq(attempt.state.as_bytes()))
        });
        // Also a refusal could be somebody else's.
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

/// GitHub separates scopes by commas where RFC 6749 has blanks.
fn words(scopes: &[Scope]) -> Vec<String> {
    let words = scopes.iter().flat_map(|scope| scope.split([',', ' ']));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What a person is shown of a refusal: somebody else wrote it.
fn reason(error: &str, description: Option<&str>) -> String {
    let text = description.unwrap_or(error);
    pushkeys_keys::escape(text).chars().take(REASON_CHARACTERS_MAX).collect()
}

/// [`Outbound`] as the flow's library asks for it.
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
    // GitHub refuses with status 200.
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

    fn parties() -> Parties {
        Parties {
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
        let (url, attempt) = parties().begin("https://keys.example.com/back".into(), &[]).unwrap();
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
        let sealer = Sealer::new(&[1; 32]).unwrap();
        let (_, mut attempt) = parties().begin("https://keys.example.com/back".into(), &[]).unwrap();
        let cookie = attempt.seal(&sealer, "link session_1").unwrap();
        assert_eq!(Attempt::open(&sealer, "link session_1", &cookie).unwrap().state, attempt.state);
        assert!(Attempt::open(&sealer, "link session_2", &cookie).is_err());
        assert!(Attempt::open(&sealer, "link session_1", "").is_err());
        attempt.expires_at_ms = now_ms();
        let cookie = attempt.seal(&sealer, "link session_1").unwrap();
        assert!(Attempt::open(&sealer, "link session_1", &cookie).is_err());
    }

    #[test]
    fn a_code_is_taken_with_the_state_of_its_attempt_and_with_no_other() {
        let (_, attempt) = parties().begin("https://keys.example.com/back".into(), &[]).unwrap();
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
