//! The pages for users: sign-in, SSH keys, profile, and the approval of `clever login`.
//!
//! - Every page is whole without script, and asks nothing of any other site. What a page shows is escaped
//!   by its template; [`text::Sentence`] is the only other way into markup.
//! - Whatever changes something is a POST: from a page of ours by what the browser says ([`posted`]), and
//!   with the session's own token. What gives somebody access ([`SignedIn::is_recent`]) also needs a sign-in
//!   that is not long ago.
//! - Nothing that was typed as a key is logged, and a private key is not even shown again.

mod assets;
mod cli;
mod config;
mod confirm;
mod elsewhere;
mod github;
mod headers;
mod keys;
mod messages;
mod oidc;
mod pages;
mod posted;
mod profile;
mod proof;
mod refusals;
mod sign_in;
mod text;
mod visitor;

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{any, get, post};
use pushkeys_keys::Policy;

pub(crate) use self::config::ConsoleConfig;
use self::posted::Site;
use crate::github::GitHub;
use crate::oidc::Oidc;
use crate::password::Passwords;
use crate::rate_limit::{Limiter, Limits, Peer};
use crate::store::{Lifetimes, Store};

/// Where the page with the keys is: clients open it by this path.
const KEYS_PATH: &str = "/users/me/ssh-keys";
/// Where the profile is.
const PROFILE_PATH: &str = "/users/me";

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
    store: Store,
    policy: Arc<Policy>,
    limits: Limits,
    passwords: Passwords,
    config: ConsoleConfig,
    site: Site,
    account_attempts: Limiter<String>,
    address_attempts: Limiter<Peer>,
    github: Option<Arc<GitHub>>,
    oidc: Option<Oidc>,
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
    fn lifetimes(&self) -> Lifetimes {
        Lifetimes { idle: self.config.session_idle, max: self.config.session_max }
    }
}

/// All pages.
pub(crate) fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to(KEYS_PATH)))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-out", post(sign_in::sign_out))
        .route(KEYS_PATH, get(keys::show).post(keys::add))
        .route("/users/me/ssh-keys/delete", post(keys::delete))
        .route("/users/me/ssh-keys/challenge", post(proof::ask))
        .route(proof::PROOF_PATH, get(proof::show).post(proof::answer))
        .route("/users/me/warnings/dismiss", post(keys::dismiss))
        .route(PROFILE_PATH, get(profile::show))
        .route("/users/me/password", post(profile::change_password))
        .route("/users/me/sessions/end", post(profile::end_session))
        .route("/users/me/tokens/revoke", post(profile::revoke_token))
        .route(github::LINK_PATH, post(github::link))
        .route(crate::github::CALLBACK_PATH, get(github::callback))
        .route("/users/me/github/unlink", post(github::unlink))
        .route(github::IMPORT_PATH, get(github::preview).post(github::import))
        .route("/sign-in/oidc", post(oidc::sign_in))
        .route(confirm::OIDC_PATH, post(confirm::leave_for_oidc))
        .route(crate::oidc::CALLBACK_PATH, get(oidc::callback))
        .route(oidc::LINK_PATH, post(oidc::link))
        .route("/users/me/oidc/unlink", post(oidc::unlink))
        .route(cli::CLI_PATH, get(cli::show).post(cli::approve))
        .route("/assets/{file}", get(assets::show))
        .route("/users/{*path}", any(visitor::nowhere))
        .layer(middleware::from_fn_with_state(console.clone(), headers::guard))
        .with_state(console)
}
