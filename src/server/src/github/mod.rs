//! Accounts linked to GitHub accounts, and the import of keys from there.
//!
//! A sign-in at GitHub does not prove possession of the private keys that GitHub lists. So an imported key is validated,
//! and refused if another account has it, like any other key.

mod api;
mod error;
mod link_header;
mod listings;
mod proposal;
mod settings;
mod tokens;

use std::sync::Arc;

use pushkeys_keys::{AccountId, Policy};

use self::api::{GithubApi, Listing, suffice};
use self::error::SCOPE;
pub(crate) use self::error::{GithubError, LinkError, ProposeError};
use self::listings::Listings;
pub(crate) use self::proposal::{Candidate, Proposal};
pub(crate) use self::settings::GithubSettings;
use self::tokens::{Tokens, UserToken};
use crate::code_flow::{Attempt, Callback, ClientSetupError, CodeFlowClient, CodeFlowError, Granted};
use crate::encryption::Cipher;
use crate::outbound::Outbound;
use crate::secret::ServiceSecret;
use crate::store::{GithubLink, GithubOrigin, Store};

/// The path that GitHub redirects browsers to. With the console's address before it, it is registered with the app.
pub(crate) const CALLBACK_PATH: &str = "/users/me/github/callback";

/// The prefix of the tokens that a GitHub App gets for a user.
const APP_TOKEN: &str = "ghu_";

/// The client of GitHub.
pub(crate) struct GitHub {
    api: GithubApi,
    attempts: Cipher,
    tokens: Tokens,
    listings: Listings,
}

impl GitHub {
    /// The app of `settings`.
    pub(crate) fn new(settings: &GithubSettings, secret: &ServiceSecret) -> Result<Self, ClientSetupError> {
        let outbound = Outbound::new()?;
        let client = CodeFlowClient {
            authorization_url: settings.base_url.join("/login/oauth/authorize"),
            token_url: settings.base_url.join("/login/oauth/access_token"),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret()?,
            is_secret_in_body: true,
            scopes: vec![SCOPE.to_owned()],
        };
        Ok(Self {
            api: GithubApi::new(outbound.clone(), settings.api_url.clone()),
            attempts: secret.cipher("link to GitHub")?,
            tokens: Tokens { outbound, client, cipher: secret.cipher("token of GitHub")? },
            listings: Listings::default(),
        })
    }

    /// The URL that the browser of `session` is redirected to, to link an account, and the cookie that it must bring back.
    /// `origin` is the console's.
    pub(crate) fn begin(&self, session: &str, origin: &str) -> Result<(String, String), CodeFlowError> {
        let (url, attempt) = self.tokens.client.begin(format!("{origin}{CALLBACK_PATH}"), &[])?;
        Ok((url.into(), attempt.encrypt(&self.attempts, session)?))
    }

    /// Links `account` to the GitHub user who signed in, in the browser of `session`.
    pub(crate) async fn finish(
        &self,
        account: &AccountId,
        session: &str,
        cookie: &str,
        callback: &Callback,
    ) -> Result<GithubLink, LinkError> {
        let attempt = Attempt::decrypt(&self.attempts, session, cookie)?;
        let granted = self.tokens.client.redeem(&self.tokens.outbound, &attempt, callback).await?;
        self.check_permission(&granted).await?;
        let user = self.api.user(&granted.access_token).await?;
        let encrypted_token = self.tokens.encrypt(account, &UserToken::of(granted))?;
        self.listings.forget(account);
        Ok(GithubLink { user: user.id, login: shown_login(&user.login), encrypted_token })
    }

    /// Checks that the token allows keys to be listed. An OAuth app's token has scopes. A GitHub App's token has none and
    /// the permissions of the app, so only a listing shows it.
    async fn check_permission(&self, granted: &Granted) -> Result<(), LinkError> {
        if suffice(granted.scopes.as_deref()) {
            return Ok(());
        }
        if !granted.access_token.starts_with(APP_TOKEN) {
            return Err(LinkError::Scope);
        }
        match self.api.keys(&granted.access_token, None).await {
            Err(GithubError::LinkAgain) => Err(LinkError::Scope),
            listed => Ok(listed.map(|_| ())?),
        }
    }

    /// The keys of the GitHub account that `account` is linked to.
    async fn keys(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<Arc<Listing>, ProposeError> {
        let remembered = self.listings.of(account, link.user);
        if let Some(remembered) = remembered.as_ref().filter(|remembered| remembered.is_fresh()) {
            return Ok(Arc::clone(&remembered.listing));
        }
        let token = self.tokens.usable(store, account, link).await?;
        let etag = remembered.as_ref().and_then(|remembered| remembered.listing.etag.as_deref());
        let listed = match self.api.keys(&token, etag).await {
            // It may have expired early. If the user revoked the permission, the renewal fails.
            Err(GithubError::LinkAgain) => {
                let token = self.tokens.renewed(store, account, link).await?;
                self.api.keys(&token, etag).await?
            }
            listed => listed?,
        };
        let listing = match (listed, remembered) {
            (Some(listing), _) => Arc::new(listing),
            (None, Some(remembered)) => remembered.listing,
            // 304 to a request that was not conditional.
            (None, None) => return Err(GithubError::Malformed.into()),
        };
        self.listings.remember(account, link.user, &listing);
        Ok(listing)
    }

    /// What `account` could import from GitHub. `None`: it is not linked.
    pub(crate) async fn propose(
        &self,
        store: &Store,
        policy: &Policy,
        account: &AccountId,
    ) -> Result<Option<Proposal>, ProposeError> {
        let Some(link) = store.github_link(account).await? else { return Ok(None) };
        let listing = self.keys(store, account, &link).await?;
        let imported = store.keys_from_github(account, link.user).await?;
        let held = store.keys(account).await?;
        let origin = GithubOrigin { user: link.user, login: link.login };
        Ok(Some(Proposal::of(origin, &listing.keys, held, &imported, policy)))
    }

    /// Revokes at GitHub the token of a link that `account` no longer has.
    pub(crate) async fn give_back(&self, account: &AccountId, link: &GithubLink) -> Result<(), GithubError> {
        self.listings.forget(account);
        let token = match self.tokens.last(account, link).await {
            // GitHub no longer accepts it, or it was encrypted with another service secret.
            Err(GithubError::LinkAgain) => return Ok(()),
            token => token?.access,
        };
        let CodeFlowClient { client_id, client_secret, .. } = &self.tokens.client;
        self.api.revoke(client_id, client_secret, &token).await
    }
}

/// GitHub's logins are letters, digits and hyphens. Anything else is escaped, since the login is shown to users.
fn shown_login(login: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    pushkeys_keys::escape(login).chars().take(CHARACTERS_MAX).collect()
}
