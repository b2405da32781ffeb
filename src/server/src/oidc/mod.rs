//! Sign-in by OpenID Connect: the authorization code flow with PKCE, state and nonce.
//!
//! Users are identified by the issuer and the subject, never by an e-mail address: addresses are reassigned, and some
//! providers let users enter any address.

mod id_token;
mod jws;
mod provider;
mod settings;

use jiff::Timestamp;
use thiserror::Error;

pub(crate) use self::id_token::IdTokenError;
use self::id_token::{CLOCK_SKEW_S, Expected, check_is_new};
pub(crate) use self::provider::ProviderError;
use self::provider::{Provider, ProviderCache};
pub(crate) use self::settings::OidcSettings;
use crate::code_flow::{Attempt, Callback, ClientSetupError, CodeFlowClient, CodeFlowError};
use crate::encryption::{Cipher, EncryptError};
use crate::outbound::Outbound;
use crate::secret::ServiceSecret;
use crate::store::Identity;

/// The path that the provider redirects browsers to. With the console's address before it, it is registered there.
pub(crate) const CALLBACK_PATH: &str = "/sign-in/oidc/callback";

/// The client of the provider.
pub(crate) struct Oidc {
    settings: OidcSettings,
    client_secret: String,
    outbound: Outbound,
    provider_cache: ProviderCache,
    attempts: Cipher,
    forms: Cipher,
}

/// A redirect to the provider.
pub(crate) struct ProviderRedirect<'a> {
    /// The purpose and the session, if there is one. The callback must have the same.
    pub(crate) context: &'a str,
    /// The console's origin.
    pub(crate) origin: &'a str,
    /// The page to go to after signing in.
    pub(crate) next: &'a str,
    /// Whether the provider must ask the user to sign in again.
    pub(crate) is_confirming: bool,
}

/// A sign-in at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignIn {
    pub(crate) identity: Identity,
    /// When the user last signed in at the provider, never in the future. It can be long ago if the provider used an
    /// existing session.
    pub(crate) at: Timestamp,
}

/// Why a sign-in failed.
#[derive(Debug, Error)]
pub(crate) enum SignInError {
    /// See [`CodeFlowError`].
    #[error(transparent)]
    Flow(#[from] CodeFlowError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// The callback came from another provider (RFC 9207).
    #[error("the callback came from another OpenID provider")]
    Issuer,
}

impl Oidc {
    /// The client of `settings`.
    pub(crate) fn new(settings: &OidcSettings, secret: &ServiceSecret) -> Result<Self, ClientSetupError> {
        let outbound = Outbound::new()?;
        Ok(Self {
            client_secret: settings.client_secret()?,
            provider_cache: ProviderCache::new(
                outbound.clone(),
                settings.issuer.clone(),
                settings.allow_http_loopback,
            ),
            outbound,
            attempts: secret.cipher("sign-in by OpenID Connect")?,
            forms: secret.cipher("form before OpenID Connect")?,
            settings: settings.clone(),
        })
    }

    pub(crate) fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// The URL that the browser is redirected to, and the cookie that it must bring back.
    pub(crate) async fn begin(
        &self,
        redirect: &ProviderRedirect<'_>,
    ) -> Result<(String, String), SignInError> {
        let provider = self.provider_cache.provider().await?;
        // OpenID Connect Core, section 3.1.2.1: an existing session at the provider confirms nothing. `max_age` makes the
        // provider send `auth_time`. It is not 0, which some providers ignore.
        let forced = [("prompt", "login".to_owned()), ("max_age", CLOCK_SKEW_S.to_string())];
        let prompt: &[_] = if redirect.is_confirming { &forced } else { &[] };
        let redirect_url = format!("{}{CALLBACK_PATH}", redirect.origin);
        let (url, mut attempt) = self.client(&provider).begin(redirect_url, prompt)?;
        redirect.next.clone_into(&mut attempt.next);
        Ok((url.into(), attempt.encrypt(&self.attempts, redirect.context)?))
    }

    /// The attempt in a cookie, if it was begun with `context`.
    pub(crate) fn attempt(&self, context: &str, cookie: &str) -> Result<Attempt, CodeFlowError> {
        Attempt::decrypt(&self.attempts, context, cookie)
    }

    /// Completes `attempt`. With `is_confirming`, the user must have signed in at the provider after it began.
    pub(crate) async fn finish(
        &self,
        attempt: &Attempt,
        callback: &Callback,
        is_confirming: bool,
    ) -> Result<SignIn, SignInError> {
        let issuer = self.settings.issuer.as_str();
        if callback.iss.as_ref().is_some_and(|answering| answering != issuer) {
            return Err(SignInError::Issuer);
        }
        let provider = self.provider_cache.provider().await?;
        let granted = self.client(&provider).redeem(&self.outbound, attempt, callback).await?;
        let token = granted.id_token.ok_or(IdTokenError::Missing)?;
        let expected = Expected { issuer, client_id: &self.settings.client_id, nonce: &attempt.nonce };
        let now = Timestamp::now();
        let claims = match id_token::check(&token, &provider.keys, &expected, now.as_second()) {
            // The provider may have rotated its keys.
            Err(IdTokenError::NoKey) => {
                let provider = self.provider_cache.refreshed_provider().await?;
                id_token::check(&token, &provider.keys, &expected, now.as_second())
            }
            checked => checked,
        }?;
        let is_verified = claims.is_true("email_verified");
        let identity = Identity {
            issuer: issuer.to_owned(),
            subject: claims.text("sub").unwrap_or_default().to_owned(),
            name: claims.text(&self.settings.account_claim).map(str::to_owned),
            email: claims.text("email").filter(|_| is_verified).map(str::to_owned),
        };
        let auth_time_s = claims.auth_time_s(now.as_second())?;
        if is_confirming && (auth_time_s.is_some() || self.settings.require_auth_time) {
            check_is_new(auth_time_s, attempt.begun_at_s())?;
        }
        Ok(SignIn { identity, at: self.signed_in_at(auth_time_s, now) })
    }

    /// If the provider should send `auth_time` and does not, the sign-in counts as old.
    fn signed_in_at(&self, auth_time_s: Option<i64>, now: Timestamp) -> Timestamp {
        match auth_time_s {
            Some(auth_time_s) => Timestamp::from_second(auth_time_s).unwrap_or_default().min(now),
            None if self.settings.require_auth_time => Timestamp::UNIX_EPOCH,
            None => now,
        }
    }

    /// Encrypts `form`, which the user filled in before the redirect, for `context`.
    pub(crate) fn encrypt_form(&self, context: &str, form: &[u8]) -> Result<Vec<u8>, EncryptError> {
        self.forms.encrypt(context, form)
    }

    /// Decrypts a form that was encrypted for `context`.
    pub(crate) fn decrypt_form(&self, context: &str, encrypted: &[u8]) -> Option<Vec<u8>> {
        self.forms.decrypt(context, encrypted)
    }

    fn client(&self, provider: &Provider) -> CodeFlowClient {
        CodeFlowClient {
            authorization_url: provider.authorization_endpoint.clone(),
            token_url: provider.token_endpoint.clone(),
            client_id: self.settings.client_id.clone(),
            client_secret: self.client_secret.clone(),
            is_secret_in_body: provider.is_secret_in_body,
            scopes: self.settings.scopes.clone(),
        }
    }
}
