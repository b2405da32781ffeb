//! Accounts that are linked to one at GitHub, and the keys that can be imported from there.
//!
//! The proof that a person holds an account at GitHub says nothing about who holds the private keys that it lists, so a
//! key that comes from there is judged, and refused where another account has it, like any other.

mod api;
mod error;
mod listings;
mod proposal;
mod settings;
mod tokens;

use std::sync::Arc;

use pushkeys_keys::{AccountId, Policy};

use self::api::{Api, Listing, suffice};
use self::error::SCOPE;
pub(crate) use self::error::{GithubError, LinkError, ProposeError};
use self::listings::Listings;
pub(crate) use self::proposal::{Candidate, Proposal};
pub(crate) use self::settings::Settings;
use self::tokens::{Tokens, UserToken};
use crate::code_flow::{Attempt, Callback, CodeFlowError, Granted, Parties, PrepareError};
use crate::outbound::Outbound;
use crate::seal::Sealer;
use crate::secret::ServiceSecret;
use crate::store::{GithubLink, GithubOrigin, Store};

/// Where GitHub sends browsers back to; beneath the console's address, this is what is registered with the app.
pub(crate) const CALLBACK_PATH: &str = "/users/me/github/callback";

/// What the tokens begin with that a GitHub App gets for a person.
const APP_TOKEN: &str = "ghu_";

/// Everything that is said to GitHub.
pub(crate) struct GitHub {
    api: Api,
    attempts: Sealer,
    tokens: Tokens,
    listings: Listings,
}

impl GitHub {
    /// The app of `settings`.
    pub(crate) fn new(settings: &Settings, secret: &ServiceSecret) -> Result<Self, PrepareError> {
        let outbound = Outbound::new()?;
        let parties = Parties {
            authorization_url: settings.base_url.join("/login/oauth/authorize"),
            token_url: settings.base_url.join("/login/oauth/access_token"),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret()?,
            is_secret_in_body: true,
            scopes: vec![SCOPE.to_owned()],
        };
        Ok(Self {
            api: Api::new(outbound.clone(), settings.api_url.clone()),
            attempts: secret.sealer("link to GitHub")?,
            tokens: Tokens { outbound, parties, sealer: secret.sealer("token of GitHub")? },
            listings: Listings::default(),
        })
    }

    /// Where the browser of `session`, which reaches us at `origin`, goes to link an account, and the cookie that it is
    /// to bring back.
    pub(crate) fn begin(&self, session: &str, origin: &str) -> Result<(String, String), CodeFlowError> {
        let (url, attempt) = self.tokens.parties.begin(format!("{origin}{CALLBACK_PATH}"), &[])?;
        Ok((url.into(), attempt.seal(&self.attempts, session)?))
    }

    /// The link of `account` to whoever signed in at GitHub in the browser of `session`.
    pub(crate) async fn finish(
        &self,
        account: &AccountId,
        session: &str,
        cookie: &str,
        callback: &Callback,
    ) -> Result<GithubLink, LinkError> {
        let attempt = Attempt::open(&self.attempts, session, cookie)?;
        let granted = self.tokens.parties.redeem(&self.tokens.outbound, &attempt, callback).await?;
        self.check_permission(&granted).await?;
        let user = self.api.user(&granted.access_token).await?;
        let sealed_token = self.tokens.seal(account, &UserToken::of(granted))?;
        self.listings.forget(account);
        Ok(GithubLink { user: user.id, login: shown_login(&user.login), sealed_token })
    }

    /// Whether what was granted lets keys be listed. An OAuth app's token says so by its scopes. A GitHub App's has none, and
    /// may do what the app may: only a listing tells.
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

    /// The keys that GitHub lists for the account that `account` is linked to.
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
            // It may have ended before its time; whether the person has taken the permission back, GitHub says then.
            Err(GithubError::LinkAgain) => {
                let token = self.tokens.renewed(store, account, link).await?;
                self.api.keys(&token, etag).await?
            }
            listed => listed?,
        };
        let listing = match (listed, remembered) {
            (Some(listing), _) => Arc::new(listing),
            (None, Some(remembered)) => remembered.listing,
            // Nothing was asked that this could be the answer to.
            (None, None) => return Err(GithubError::Malformed.into()),
        };
        self.listings.remember(account, link.user, &listing);
        Ok(listing)
    }

    /// What GitHub's list means for `account`. `None`: it is not linked.
    pub(crate) async fn propose(
        &self,
        store: &Store,
        policy: &Policy,
        account: &AccountId,
    ) -> Result<Option<Proposal>, ProposeError> {
        let Some(link) = store.github_link(account).await? else { return Ok(None) };
        let listing = self.keys(store, account, &link).await?;
        let imported = store.imported_from_github(account, link.user).await?;
        let held = store.keys(account).await?;
        let origin = GithubOrigin { user: link.user, login: link.login };
        Ok(Some(Proposal::of(origin, &listing.keys, held, &imported, policy)))
    }

    /// Gives the token of a link that `account` no longer has back to GitHub.
    pub(crate) async fn give_back(&self, account: &AccountId, link: &GithubLink) -> Result<(), GithubError> {
        self.listings.forget(account);
        let token = match self.tokens.last(account, link).await {
            // GitHub takes it no longer, or we cannot read it any more.
            Err(GithubError::LinkAgain) => return Ok(()),
            token => token?.access,
        };
        let Parties { client_id, client_secret, .. } = &self.tokens.parties;
        self.api.revoke(client_id, client_secret, &token).await
    }
}

/// GitHub's logins are letters, digits and hyphens; whatever comes is shown to people.
fn shown_login(login: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    pushkeys_keys::escape(login).chars().take(CHARACTERS_MAX).collect()
}
