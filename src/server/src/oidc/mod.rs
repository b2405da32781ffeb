//! Sign-in by OpenID Connect: the authorization code flow with PKCE, state and nonce.
//!
//! A person is known by the provider's name and the subject in its token, never by an address of mail: addresses change
//! hands, and a provider may let people write their own.

mod id_token;
mod provider;
mod settings;

use jiff::Timestamp;
use thiserror::Error;

pub(crate) use self::id_token::IdTokenError;
use self::id_token::{CLOCK_SKEW_S, Expected, check_is_new};
pub(crate) use self::provider::ProviderError;
use self::provider::{Directory, Provider};
pub(crate) use self::settings::Settings;
use crate::code_flow::{Attempt, Callback, CodeFlowError, Parties, PrepareError};
use crate::outbound::Outbound;
use crate::seal::{SealError, Sealer};
use crate::secret::ServiceSecret;
use crate::store::Identity;

/// Where the provider sends browsers back to; beneath the console's address, this is what is registered there.
pub(crate) const CALLBACK_PATH: &str = "/sign-in/oidc/callback";

/// Everything that is said to the provider.
pub(crate) struct Oidc {
    settings: Settings,
    client_secret: String,
    outbound: Outbound,
    directory: Directory,
    attempts: Sealer,
    forms: Sealer,
}

/// How a browser leaves for the provider.
pub(crate) struct Departure<'a> {
    /// What for, and the session that begins it, where there is one: it comes back with the same or in vain.
    pub(crate) context: &'a str,
    /// Where the browser reaches us.
    pub(crate) origin: &'a str,
    /// The page that the person wanted to see.
    pub(crate) next: &'a str,
    /// Whether the provider is to ask anew who sits before the browser.
    pub(crate) is_confirming: bool,
}

/// That somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignIn {
    /// Who.
    pub(crate) identity: Identity,
    /// When the person last said so at the provider, and never later than now. It can be long ago, since a provider asks
    /// nobody whom it knows still.
    pub(crate) at: Timestamp,
}

/// Why nobody is signed in.
#[derive(Debug, Error)]
pub(crate) enum SignInError {
    /// The browser brought nothing.
    #[error(transparent)]
    Flow(#[from] CodeFlowError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// The answer is another provider's (RFC 9207).
    #[error("another OpenID provider answered")]
    Issuer,
}

impl Oidc {
    /// The client of `settings`.
    pub(crate) fn new(settings: &Settings, secret: &ServiceSecret) -> Result<Self, PrepareError> {
        let outbound = Outbound::new()?;
        Ok(Self {
            client_secret: settings.client_secret()?,
            directory: Directory::new(
                outbound.clone(),
                settings.issuer.clone(),
                settings.allow_http_loopback,
            ),
            outbound,
            attempts: secret.sealer("sign-in by OpenID Connect")?,
            forms: secret.sealer("form before OpenID Connect")?,
            settings: settings.clone(),
        })
    }

    /// What is configured.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where a browser goes, and the cookie that it is to bring back.
    pub(crate) async fn begin(&self, departure: &Departure<'_>) -> Result<(String, String), SignInError> {
        let provider = self.directory.provider().await?;
        // OpenID Connect Core, section 3.1.2.1: who was signed in there all the time confirms nothing. `max_age` is what
        // makes the provider say when; it is no less than our tolerance, since some take zero for none.
        let anew = [("prompt", "login".to_owned()), ("max_age", CLOCK_SKEW_S.to_string())];
        let prompt: &[_] = if departure.is_confirming { &anew } else { &[] };
        let redirect_url = format!("{}{CALLBACK_PATH}", departure.origin);
        let (url, mut attempt) = self.parties(&provider).begin(redirect_url, prompt)?;
        departure.next.clone_into(&mut attempt.next);
        Ok((url.into(), attempt.seal(&self.attempts, departure.context)?))
    }

    /// The attempt in a cookie, if it was begun with `context`.
    pub(crate) fn attempt(&self, context: &str, cookie: &str) -> Result<Attempt, CodeFlowError> {
        Attempt::open(&self.attempts, context, cookie)
    }

    /// Who signed in at the provider in answer to `attempt`; with `is_confirming`, after it was begun.
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
        let provider = self.directory.provider().await?;
        let granted = self.parties(&provider).redeem(&self.outbound, attempt, callback).await?;
        let token = granted.id_token.ok_or(IdTokenError::Missing)?;
        let expected = Expected { issuer, client_id: &self.settings.client_id, nonce: &attempt.nonce };
        let claims = match id_token::check(&token, &provider.keys, &expected) {
            // The provider may have changed its keys since it was asked.
            Err(IdTokenError::NoKey) => {
                id_token::check(&token, &self.directory.provider_anew().await?.keys, &expected)
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
        let now = Timestamp::now();
        let auth_time_s = claims.auth_time_s(now.as_second())?;
        if is_confirming && (auth_time_s.is_some() || self.settings.require_auth_time) {
            check_is_new(auth_time_s, attempt.begun_at_s())?;
        }
        Ok(SignIn { identity, at: self.signed_in_at(auth_time_s, now) })
    }

    /// Of a provider that should say when a person signed in and does not, nothing recent is believed.
    fn signed_in_at(&self, auth_time_s: Option<i64>, now: Timestamp) -> Timestamp {
        match auth_time_s {
            Some(auth_time_s) => Timestamp::from_second(auth_time_s).unwrap_or_default().min(now),
            None if self.settings.require_auth_time => Timestamp::UNIX_EPOCH,
            None => now,
        }
    }

    /// `form`, what somebody typed before going to the provider, as it can be kept for `context`.
    pub(crate) fn seal_form(&self, context: &str, form: &[u8]) -> Result<Vec<u8>, SealError> {
        self.forms.seal(context, form)
    }

    /// What was sealed for `context`.
    pub(crate) fn open_form(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.forms.open(context, sealed)
    }

    fn parties(&self, provider: &Provider) -> Parties {
        Parties {
            authorization_url: provider.authorization_endpoint.clone(),
            token_url: provider.token_endpoint.clone(),
            client_id: self.settings.client_id.clone(),
            client_secret: self.client_secret.clone(),
            is_secret_in_body: provider.is_secret_in_body,
            scopes: self.settings.scopes.clone(),
        }
    }
}
