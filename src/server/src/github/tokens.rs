//! Access tokens for GitHub: encrypted in the database, and refreshed there.
//!
//! Tokens of an OAuth app last until they are revoked. Those of a GitHub App usually expire after eight hours and come
//! with a refresh token that works once. So only one of the requests at all replicas refreshes, by a lease in the link's
//! row, and the others wait for the token that it stores.
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_keys::AccountId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::error::{GithubError, ProposeError};
use crate::code_flow::{CodeFlowClient, Granted, RenewError};
use crate::encryption::{Cipher, EncryptError};
use crate::outbound::Outbound;
use crate::store::{GithubLink, Store};

/// A token that expires within this time is refreshed first, in milliseconds: a listing takes a while.
const MARGIN_MS: i64 = 60 * 1000;
/// How long one request has the lease: longer than a request to GitHub may take.
const LEASE: Duration = Duration::from_secs(15);
/// How long the other requests wait for it, and how often they check.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const _: () = assert!(crate::outbound::ANSWER_TIME_MAX.as_millis() < LEASE.as_millis());

/// The tokens of one grant, as they are encrypted.
///
/// Deliberately without `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UserToken {
    pub(super) access: String,
    /// `None`: it does not expire.
    expires_at_ms: Option<i64>,
    /// The refresh token.
    renewal: Option<String>,
}

impl UserToken {
    pub(super) fn of(granted: Granted) -> Self {
        let now_ms = Timestamp::now().as_millisecond();
        let lifetime_ms = granted.expires_in.and_then(|lifetime| i64::try_from(lifetime.as_millis()).ok());
        Self {
            access: granted.access_token,
            expires_at_ms: lifetime_ms.map(|lifetime_ms| now_ms.saturating_add(lifetime_ms)),
            renewal: granted.refresh_token,
        }
    }

    fn ends_soon(&self) -> bool {
        let now_ms = Timestamp::now().as_millisecond();
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms - now_ms < MARGIN_MS)
    }
}

/// Encrypts, decrypts and refreshes tokens.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) outbound: Outbound,
    pub(super) client: CodeFlowClient,
    pub(super) cipher: Cipher,
}

impl Tokens {
    pub(super) fn encrypt(&self, account: &AccountId, token: &UserToken) -> Result<Vec<u8>, EncryptError> {
        let text = serde_json::to_vec(token).map_err(|_| EncryptError)?;
        self.cipher.encrypt(account.as_str(), &text)
    }

    /// The token of a link. Fails if it was encrypted with another service secret.
    pub(super) fn decrypt(&self, account: &AccountId, link: &GithubLink) -> Result<UserToken, GithubError> {
        let text = self.cipher.decrypt(account.as_str(), &link.encrypted_token);
        text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(GithubError::LinkAgain)
    }

    /// The access token of a link, refreshed first if it expires soon.
    pub(super) async fn usable(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<String, ProposeError> {
        let token = self.decrypt(account, link)?;
        if token.ends_soon() && token.renewal.is_some() {
            return self.renewed(store, account, link).await;
        }
        Ok(token.access)
    }

    /// A new access token for a link whose token GitHub no longer accepts. The new token is stored even if the client
    /// disconnects, since the refresh token works only once.
    pub(super) async fn renewed(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<String, ProposeError> {
        let (tokens, store, account, link) = (self.clone(), store.clone(), account.clone(), link.clone());
        let renewing = tokio::spawn(async move { tokens.renew_or_wait(&store, &account, &link).await });
        renewing.await.unwrap_or(Err(ProposeError::Github(GithubError::TooSlow)))
    }

    async fn renew_or_wait(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<String, ProposeError> {
        let begun_at = Instant::now();
        while begun_at.elapsed() < WAIT_MAX {
            if store.begin_renewal(account, link, LEASE).await? {
                return self.renew(store, account, link).await;
            }
            let now = store.github_link(account).await?.ok_or(GithubError::LinkAgain)?;
            if now.encrypted_token != link.encrypted_token {
                return Ok(self.decrypt(account, &now)?.access);
            }
            sleep(LOOK_EVERY).await;
        }
        Err(GithubError::TooSlow.into())
    }

    async fn renew(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<String, ProposeError> {
        let renewed = self.ask_for_the_next(self.decrypt(account, link)?).await;
        match renewed {
            Ok(token) => {
                let encrypted = self.encrypt(account, &token).map_err(|_| GithubError::LinkAgain)?;
                store.end_renewal(account, link, Some(&encrypted)).await?;
                tracing::info!(%account, "refreshed the GitHub token of `{account}`");
                Ok(token.access)
            }
            Err(error) => {
                store.end_renewal(account, link, None).await?;
                Err(error.into())
            }
        }
    }

    async fn ask_for_the_next(&self, token: UserToken) -> Result<UserToken, GithubError> {
        let renewal = token.renewal.ok_or(GithubError::LinkAgain)?;
        match self.client.renew(&self.outbound, renewal).await {
            Ok(granted) => Ok(UserToken::of(granted)),
            Err(RenewError::Refused) => Err(GithubError::LinkAgain),
            Err(RenewError::Outbound(error)) => Err(error.into()),
            Err(error) => Err(GithubError::Renew(error)),
        }
    }

    /// The token to revoke a link with, refreshed if it expires soon: GitHub does not accept an expired one.
    pub(super) async fn last(
        &self,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<UserToken, GithubError> {
        let token = self.decrypt(account, link)?;
        if token.ends_soon() && token.renewal.is_some() {
            return self.ask_for_the_next(token).await;
        }
        Ok(token)
    }
}
