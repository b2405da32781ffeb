//! What handlers of the API share.

use std::sync::Arc;

use pushkeys_keys::{AccountId, Policy};
use tokio::time::Duration;

use crate::auth::Authenticator;
use crate::concurrency::Concurrency;
use crate::github::GitHub;
use crate::origin::Origin;
use crate::proof::ServiceUrl;
use crate::rate_limit::Limits;
use crate::store::Store;

/// The state of the API.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: Arc<Policy>,
    /// Origins whose pages may use the API from a browser.
    pub(crate) allowed_origins: Arc<[Origin]>,
    pub(crate) limits: Limits,
    /// `None`: not configured.
    pub(crate) github: Option<Arc<GitHub>>,
    /// What challenges call this service.
    pub(crate) service_url: ServiceUrl,
    /// Requests that wait for hosts, by account.
    pub(crate) waits: Concurrency<AccountId>,
    /// How long a token of `clever login` is valid.
    pub(crate) cli_token_max: Duration,
}
