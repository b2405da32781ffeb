//! What handlers of the API share.

use std::sync::Arc;

use pushkeys_keys::Policy;
use tokio::time::Duration;

use crate::auth::Authenticator;
use crate::github::GitHub;
use crate::origin::Origin;
use crate::rate_limit::Limits;
use crate::store::Store;

/// What the API needs.
#[derive(Clone)]
pub(crate) struct Api {
    /// Where keys are kept.
    pub(crate) store: Store,
    /// Who knows whose a credential is.
    pub(crate) authenticator: Authenticator,
    /// What is a key.
    pub(crate) policy: Arc<Policy>,
    /// Whose pages may use the API from a browser.
    pub(crate) allowed_origins: Arc<[Origin]>,
    /// How often it may be used.
    pub(crate) limits: Limits,
    /// Where keys can be imported from.
    pub(crate) github: Option<Arc<GitHub>>,
    /// How long a token of `clever login` is good.
    pub(crate) cli_token_max: Duration,
}
