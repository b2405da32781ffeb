//! The state of the console, which handlers share.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pushkeys_keys::Policy;

use super::settings::ConsoleSettings;
use super::site::Site;
use crate::github::GitHub;
use crate::oidc::Oidc;
use crate::password::Passwords;
use crate::proof::ServiceUrl;
use crate::rate_limit::{Limiter, Limits, Peer};
use crate::store::{Lifetimes, Store};

/// Password attempts for one account: this burst, and one more after each period. That is 43,000 guesses a day; a user who is
/// locked out by them waits for seconds.
const ATTEMPTS_PER_ACCOUNT: NonZeroU32 = NonZeroU32::new(30).unwrap();
const ATTEMPT_PER_ACCOUNT_EVERY: Duration = Duration::from_secs(2);
/// Password attempts from one address, for any account.
const ATTEMPTS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();
const ATTEMPT_PER_ADDRESS_EVERY: Duration = Duration::from_secs(6);

/// The state of the console; clones share it.
#[derive(Clone)]
pub(crate) struct Console(Arc<ConsoleState>);

/// External services that users have accounts at; `None`: not configured.
#[derive(Default)]
pub(crate) struct ExternalServices {
    pub(crate) github: Option<Arc<GitHub>>,
    pub(crate) oidc: Option<Oidc>,
}

/// See [`Console`].
pub(crate) struct ConsoleState {
    pub(super) store: Store,
    pub(super) policy: Arc<Policy>,
    pub(super) limits: Limits,
    pub(super) passwords: Passwords,
    pub(super) config: ConsoleSettings,
    pub(super) site: Site,
    pub(super) service_url: ServiceUrl,
    pub(super) account_attempts: Limiter<String>,
    pub(super) address_attempts: Limiter<Peer>,
    pub(super) github: Option<Arc<GitHub>>,
    pub(super) oidc: Option<Oidc>,
}

impl Deref for Console {
    type Target = ConsoleState;

    fn deref(&self) -> &ConsoleState {
        &self.0
    }
}

impl Console {
    /// The console on `store`, for keys that `policy` accepts, within `limits`.
    pub(crate) fn new(
        config: ConsoleSettings,
        store: Store,
        policy: Arc<Policy>,
        limits: Limits,
        service_url: ServiceUrl,
        external: ExternalServices,
    ) -> Self {
        Self(Arc::new(ConsoleState {
            store,
            policy,
            limits,
            passwords: Passwords::default(),
            site: Site(config.base_url.clone()),
            service_url,
            config,
            account_attempts: Limiter::every(ATTEMPT_PER_ACCOUNT_EVERY, ATTEMPTS_PER_ACCOUNT),
            address_attempts: Limiter::every(ATTEMPT_PER_ADDRESS_EVERY, ATTEMPTS_PER_ADDRESS),
            github: external.github,
            oidc: external.oidc,
        }))
    }
}

impl ConsoleState {
    pub(super) fn lifetimes(&self) -> Lifetimes {
        Lifetimes { idle: self.config.session_idle, max: self.config.session_max }
    }
}
