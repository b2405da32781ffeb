//! What the pages share.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pushkeys_keys::Policy;

use super::config::ConsoleConfig;
use super::site::Site;
use crate::github::GitHub;
use crate::oidc::Oidc;
use crate::password::Passwords;
use crate::rate_limit::{Limiter, Limits, Peer};
use crate::store::{Lifetimes, Store};

/// Wrong passwords for one account: so many at once, and one more each time so much has passed. Whoever
/// guesses has 43,000 attempts a day; who is locked out by them waits for seconds.
const ATTEMPTS_PER_ACCOUNT: NonZeroU32 = NonZeroU32::new(30).unwrap();
const ATTEMPT_PER_ACCOUNT_EVERY: Duration = Duration::from_secs(2);
/// The same from one address, for whichever account.
const ATTEMPTS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();
const ATTEMPT_PER_ADDRESS_EVERY: Duration = Duration::from_secs(6);

/// What the pages need; clones share it.
#[derive(Clone)]
pub(crate) struct Console(Arc<Shared>);

/// Other services that people have accounts at.
#[derive(Default)]
pub(crate) struct Elsewhere {
    /// Where keys can be imported from.
    pub(crate) github: Option<Arc<GitHub>>,
    /// By whose word people sign in.
    pub(crate) oidc: Option<Oidc>,
}

/// See [`Console`].
pub(crate) struct Shared {
    pub(super) store: Store,
    pub(super) policy: Arc<Policy>,
    pub(super) limits: Limits,
    pub(super) passwords: Passwords,
    pub(super) config: ConsoleConfig,
    pub(super) site: Site,
    pub(super) account_attempts: Limiter<String>,
    pub(super) address_attempts: Limiter<Peer>,
    pub(super) github: Option<Arc<GitHub>>,
    pub(super) oidc: Option<Oidc>,
}

impl Deref for Console {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Console {
    /// The console of `config` on `store`, for keys that `policy` accepts; requests count in `limits`. People link
    /// accounts of `elsewhere`.
    pub(crate) fn new(
        config: ConsoleConfig,
        store: Store,
        policy: Arc<Policy>,
        limits: Limits,
        elsewhere: Elsewhere,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            policy,
            limits,
            passwords: Passwords::default(),
            site: Site(config.base_url.clone()),
            config,
            account_attempts: Limiter::every(ATTEMPT_PER_ACCOUNT_EVERY, ATTEMPTS_PER_ACCOUNT),
            address_attempts: Limiter::every(ATTEMPT_PER_ADDRESS_EVERY, ATTEMPTS_PER_ADDRESS),
            github: elsewhere.github,
            oidc: elsewhere.oidc,
        }))
    }
}

impl Shared {
    pub(super) fn lifetimes(&self) -> Lifetimes {
        Lifetimes { idle: self.config.session_idle, max: self.config.session_max }
    }
}
