//! The token by which an account's keys are listed: sealed in the database, and renewed there.
//!
//! Tokens of an OAuth app last until they are taken back. Those of a GitHub App usually end after eight hours and come
//! with a second token that gets the next pair, once: whoever asks with it a second time is refused. So of all requests at
//! all replicas one alone renews, by a lease in the link's row, and the others wait for what it stores.
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_keys::{AccountId, ErrorReport};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::error::{GithubError, ProposeError};
use crate::code_flow::{Granted, Parties, RenewError};
use crate::outbound::Outbound;
use crate::seal::{SealError, Sealer};
use crate::store::{GithubLink, Store};

/// A token that ends so soon is renewed first, in milliseconds: a listing takes its time.
const MARGIN_MS: i64 = 60 * 1000;
/// How long one request alone may renew; more than GitHub has for its answer.
const LEASE: Duration = Duration::from_secs(15);
/// How long the others wait for it, and how often they look.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const _: () = assert!(crate::outbound::ANSWER_TIME_MAX.as_millis() < LEASE.as_millis());

/// What GitHub gave, as it is sealed.
///
/// Deliberately without `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UserToken {
    /// By which requests are made.
    pub(super) access: String,
    /// When it ends; `None`: when it is taken back.
    expires_at_ms: Option<i64>,
    /// What gets the next pair.
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

/// Seals, opens and renews tokens; clones share what they need.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) outbound: Outbound,
    pub(super) parties: Parties,
    pub(super) sealer: Sealer,
}

impl Tokens {
    pub(super) fn seal(&self, account: &AccountId, token: &UserToken) -> Result<Vec<u8>, SealError> {
        let text = serde_json::to_vec(token).map_err(|_| SealError)?;
        self.sealer.seal(account.as_str(), &text)
    }

    /// The token of a link. An error: it was sealed by another secret of the service.
    pub(super) fn open(&self, account: &AccountId, link: &GithubLink) -> Result<UserToken, GithubError> {
        let text = self.sealer.open(account.as_str(), &link.sealed_token);
        text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(GithubError::LinkAgain)
    }

    /// The token of a link, which is renewed first where it ends soon.
    pub(super) async fn usable(
        &self,
        store: &Store,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<String, ProposeError> {
        let token = self.open(account, link)?;
        if token.ends_soon() && token.renewal.is_some() {
            return self.renewed(store, account, link).await;
        }
        Ok(token.access)
    }

    /// The token of a link in place of one that GitHub takes no longer. Whoever asked may go away: what GitHub has given is
    /// stored all the same, since it gives it once.
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
            if now.sealed_token != link.sealed_token {
                return Ok(self.open(account, &now)?.access);
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
        let renewed = self.ask_for_the_next(self.open(account, link)?).await;
        match renewed {
            Ok(token) => {
                let sealed = self.seal(account, &token).map_err(|_| GithubError::LinkAgain)?;
                store.end_renewal(account, link, Some(&sealed)).await?;
                tracing::info!(%account, "a token of GitHub was renewed");
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
        match self.parties.renew(&self.outbound, renewal).await {
            Ok(granted) => Ok(UserToken::of(granted)),
            Err(RenewError::Refused) => Err(GithubError::LinkAgain),
            Err(RenewError::Outbound(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!("GitHub does not renew a token: {}", ErrorReport::of(&error));
                Err(GithubError::Malformed)
            }
        }
    }

    /// The token by which a link is given back: GitHub knows one that has ended no more.
    pub(super) async fn last(
        &self,
        account: &AccountId,
        link: &GithubLink,
    ) -> Result<UserToken, GithubError> {
        let token = self.open(account, link)?;
        if token.ends_soon() && token.renewal.is_some() {
            return self.ask_for_the_next(token).await;
        }
        Ok(token)
    }
}
