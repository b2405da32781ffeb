//! A test double of GitHub for one app: links and lists of keys, as documented, and with errors on
//! request.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::web::{WebRequest, WebResponse, WebServer};

/// The app's client id.
const GITHUB_CLIENT_ID: &str = "Iv1.pushkeys";
/// The app's secret.
pub const GITHUB_CLIENT_SECRET: &str = "githubs-secret-of-the-app";
/// The maximum number of keys on one page.
const PAGE_MAX: usize = 100;

/// An error in the response to a request for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 429 with `Retry-After: 7`.
    TooManyRequests,
    /// 403 with no requests left.
    NoneRemaining,
    /// The response is delayed by this number of seconds.
    Slow(u64),
    /// A response that is larger than any list of keys.
    Huge,
    /// A redirect to this URL.
    Redirect(String),
    /// The next page is at this URL.
    NextPage(String),
    /// Not JSON.
    Garbage,
    /// 500.
    Broken,
    /// This response.
    Response(WebResponse),
}

#[derive(Default)]
struct World {
    /// The login of the user in the browser; `None` denies access.
    user: Option<String>,
    /// Id, title, text.
    keys: HashMap<String, Vec<(i64, String, String)>>,
    /// Login, challenge and redirect URL, by code.
    codes: HashMap<String, (String, String, String)>,
    /// Login, by token.
    tokens: HashMap<String, String>,
    /// Login, by refresh token, if the app is a GitHub App.
    renewals: HashMap<String, String>,
    /// The lifetime of a GitHub App's tokens in seconds.
    lifetime_s: Option<u64>,
    renewed: usize,
    /// The number of requests with a refresh token that was used before.
    renewed_twice: usize,
    renewal_trouble: Option<&'static str>,
    scope: String,
    trouble: Option<Trouble>,
    listings: usize,
    unchanged: usize,
    issued: usize,
}

/// The server.
pub struct GitHub {
    web: WebServer,
    world: Arc<Mutex<World>>,
}

impl GitHub {
    /// Starts a server with `login` as the user in the browser.
    #[must_use]
    pub fn start(login: &str) -> Self {
        let world = World {
            user: Some(login.to_owned()),
            keys: HashMap::from([(login.to_owned(), Vec::new())]),
            scope: "read:public_key".to_owned(),
            ..World::default()
        };
        let world = Arc::new(Mutex::new(world));
        let answering = Arc::clone(&world);
        let web = WebServer::start(move |asked| answer(&answering, asked));
        Self { web, world }
    }

    /// The `[github]` table of the service for it; the app's secret is in the file at `secret_file`.
    #[must_use]
    pub fn settings(&self, secret_file: &str) -> String {
        let url = self.web.url();
        format!(
            "[github]\nclient_id = \"{GITHUB_CLIENT_ID}\"\nclient_secret_file = \"{secret_file}\"\nbase_url = \"{url}\"\n\
             api_url = \"{url}/api/v3\"\nallow_http_loopback = true\n"
        )
    }

    /// The URL for browsers.
    #[must_use]
    pub fn url(&self) -> String {
        self.web.url()
    }

    /// Makes `login` the user in the browser; `None` denies access.
    pub fn is_used_by(&self, login: Option<&str>) {
        self.lock().user = login.map(str::to_owned);
    }

    /// Sets the user's keys, each with its title.
    pub fn lists(&self, keys: &[(&str, &str)]) {
        let mut world = self.lock();
        let Some(user) = world.user.clone() else { return };
        let keys =
            keys.iter().zip(1..).map(|((title, key), id)| (id, (*title).to_owned(), (*key).to_owned()));
        world.keys.insert(user, keys.collect());
    }

    /// Sets the scope that is granted, regardless of the request.
    pub fn grants(&self, scope: &str) {
        scope.clone_into(&mut self.lock().scope);
    }

    /// Makes the app a GitHub App, whose tokens have this lifetime in seconds and no scopes.
    pub fn is_a_github_app(&self, lifetime_s: u64) {
        let mut world = self.lock();
        world.lifetime_s = Some(lifetime_s);
        world.scope.clear();
    }

    /// Expires all tokens. Those of a GitHub App can be renewed.
    pub fn ends_all_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Sets the error that answers requests to renew a token.
    pub fn renews(&self, error: Option<&'static str>) {
        self.lock().renewal_trouble = error;
    }

    /// The number of renewed tokens, and of repeated attempts to renew one.
    #[must_use]
    pub fn renewed(&self) -> (usize, usize) {
        let world = self.lock();
        (world.renewed, world.renewed_twice)
    }

    /// Sets the error of responses with keys.
    pub fn has_trouble(&self, trouble: Option<Trouble>) {
        self.lock().trouble = trouble;
    }

    /// Revokes the user's authorization.
    pub fn revokes_all(&self) {
        let mut world = self.lock();
        world.tokens.clear();
        world.renewals.clear();
    }

    /// The number of valid tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.lock().tokens.len()
    }

    /// The number of pages of keys that were sent, and of responses that nothing had changed.
    #[must_use]
    pub fn asked(&self) -> (usize, usize) {
        let world = self.lock();
        (world.listings, world.unchanged)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(world: &Mutex<World>, asked: &WebRequest) -> WebResponse {
    let trouble = world.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
    if let (Some(Trouble::Slow(seconds)), "/api/v3/user/keys") = (&trouble, asked.path.as_str()) {
        thread::sleep(Duration::from_secs(*seconds));
    }
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/login/oauth/authorize") => world.authorize(asked),
        ("POST", "/login/oauth/access_token") => world.exchange(asked),
        ("GET", "/api/v3/user") => world.with_token(asked, |_, login| {
            WebResponse::json(200, &json!({"login": login, "id": id_of(login), "name": null}))
        }),
        ("GET", "/api/v3/user/keys") => match trouble {
            Some(trouble) => world.go_wrong(asked, &trouble),
            None => world.with_token(asked, |world, login| world.page(asked, login)),
        },
        ("DELETE", path) if path == format!("/api/v3/applications/{GITHUB_CLIENT_ID}/token") => {
            world.revoke(asked)
        }
        _ => WebResponse::json(404, &json!({"message": "Not Found"})),
    }
}

fn id_of(login: &str) -> i64 {
    login.bytes().map(i64::from).sum()
}

impl World {
    /// The user has authorized the app before, or denies access.
    fn authorize(&mut self, asked: &WebRequest) -> WebResponse {
        let field = |name: &str| asked.fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field("client_id"), GITHUB_CLIENT_ID);
        assert_eq!(field("code_challenge_method"), "S256");
        let mut back = Url::parse(&field("redirect_uri")).expect("a redirect URI");
        self.issued += 1;
        let code = format!("code-{}", self.issued);
        if let Some(user) = &self.user {
            let attempt = (user.clone(), field("code_challenge"), field("redirect_uri"));
            self.codes.insert(code.clone(), attempt);
            back.query_pairs_mut().append_pair("code", &code);
        } else {
            back.query_pairs_mut().append_pair("error", "access_denied");
        }
        back.query_pairs_mut().append_pair("state", &field("state"));
        WebResponse::see(&back)
    }

    /// GitHub sends errors with status 200.
    fn exchange(&mut self, asked: &WebRequest) -> WebResponse {
        let field = |name: &str| asked.fields.get(name).map_or("", String::as_str);
        let refused = |error: &str| {
            WebResponse::json(
                200,
                &json!({"error": error, "error_description": format!("configured: {error}")}),
            )
        };
        if field("client_id") != GITHUB_CLIENT_ID || field("client_secret") != GITHUB_CLIENT_SECRET {
            return refused("incorrect_client_credentials");
        }
        if field("grant_type") == "refresh_token" {
            if let Some(error) = self.renewal_trouble {
                return refused(error);
            }
            let Some(login) = self.renewals.remove(field("refresh_token")) else {
                self.renewed_twice += 1;
                return refused("bad_refresh_token");
            };
            self.renewed += 1;
            self.issued += 1;
            // The previous token is revoked.
            self.tokens.retain(|_, known| *known != login);
            return self.grant(login);
        }
        let Some((login, challenge, redirect_uri)) = self.codes.remove(field("code")) else {
            return refused("bad_verification_code");
        };
        let verifier = BASE64URL_NOPAD.encode(&Sha256::digest(field("code_verifier")));
        if verifier != challenge || field("redirect_uri") != redirect_uri {
            return refused("bad_verification_code");
        }
        self.grant(login)
    }

    fn grant(&mut self, login: String) -> WebResponse {
        let Some(lifetime_s) = self.lifetime_s else {
            let token = format!("gho_{}", self.issued);
            self.tokens.insert(token.clone(), login);
            return WebResponse::json(
                200,
                &json!({"access_token": token, "token_type": "bearer", "scope": self.scope}),
            );
        };
        let (token, renewal) = (format!("ghu_{}", self.issued), format!("ghr_{}", self.issued));
        self.tokens.insert(token.clone(), login.clone());
        self.renewals.insert(renewal.clone(), login);
        let answer = json!({
            "access_token": token, "expires_in": lifetime_s, "refresh_token": renewal,
            "refresh_token_expires_in": 15_897_600, "scope": "", "token_type": "bearer",
        });
        WebResponse::json(200, &answer)
    }

    fn with_token(
        &mut self,
        asked: &WebRequest,
        respond: impl FnOnce(&mut Self, &str) -> WebResponse,
    ) -> WebResponse {
        let token = asked.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token.and_then(|token| self.tokens.get(token).cloned()) {
            Some(login) => respond(self, &login),
            None => WebResponse::json(401, &json!({"message": "Bad credentials"})),
        }
    }

    fn page(&mut self, asked: &WebRequest, login: &str) -> WebResponse {
        if self.lifetime_s.is_none() && !self.scope.contains("public_key") {
            return WebResponse::json(404, &json!({"message": "Not Found"}));
        }
        let number = |name: &str| asked.fields.get(name).and_then(|text| text.parse::<usize>().ok());
        let (size, page) = (number("per_page").unwrap_or(30).min(PAGE_MAX), number("page").unwrap_or(1));
        let keys = self.keys.get(login).map_or(&[][..], Vec::as_slice);
        let rows = keys.iter().skip((page - 1) * size).take(size);
        let rows = rows.map(|(id, title, key)| {
            json!({"id": id, "title": title, "key": key, "verified": true, "read_only": false})
        });
        let body = Value::from(rows.collect::<Vec<_>>());
        let etag = format!("W/\"{:x}\"", Sha256::digest(body.to_string()));
        if asked.headers.get("if-none-match") == Some(&etag) {
            self.unchanged += 1;
            return WebResponse { status: 304, headers: vec![("ETag", etag)], body: String::new() };
        }
        let mut links = String::new();
        if page * size < keys.len() {
            let host = asked.headers.get("host").map_or("", String::as_str);
            let url = |page: usize| format!("http://{host}/api/v3/user/keys?per_page={size}&page={page}");
            // Writing to a String cannot fail.
            let _ = write!(
                links,
                "<{}>; rel=\"next\", <{}>; rel=\"last\"",
                url(page + 1),
                url(keys.len().div_ceil(size))
            );
        }
        self.listings += 1;
        let response = WebResponse::json(200, &body).with("ETag", etag);
        if links.is_empty() { response } else { response.with("Link", links) }
    }

    fn go_wrong(&mut self, asked: &WebRequest, trouble: &Trouble) -> WebResponse {
        let limited = json!({"message": "API rate limit exceeded"});
        match trouble {
            Trouble::TooManyRequests => WebResponse::json(429, &limited).with("Retry-After", "7"),
            Trouble::NoneRemaining => WebResponse::json(403, &limited)
                .with("X-RateLimit-Remaining", "0")
                .with("X-RateLimit-Reset", "0"),
            Trouble::Slow(_) => self.with_token(asked, |world, login| world.page(asked, login)),
            Trouble::Huge => {
                WebResponse { status: 200, headers: Vec::new(), body: " ".repeat(8 * 1024 * 1024) }
            }
            Trouble::Redirect(url) => WebResponse::see(&Url::parse(url).expect("a URL")),
            Trouble::NextPage(url) => {
                WebResponse::json(200, &json!([])).with("Link", format!("<{url}>; rel=\"next\""))
            }
            Trouble::Garbage => WebResponse { status: 200, headers: Vec::new(), body: "<html>".to_owned() },
            Trouble::Broken => WebResponse::json(500, &json!({"message": "oops"})),
            Trouble::Response(response) => response.clone(),
        }
    }

    fn revoke(&mut self, asked: &WebRequest) -> WebResponse {
        let expected = BASE64.encode(format!("{GITHUB_CLIENT_ID}:{GITHUB_CLIENT_SECRET}").as_bytes());
        if asked.headers.get("authorization") != Some(&format!("Basic {expected}")) {
            return WebResponse::json(401, &json!({"message": "Requires authentication"}));
        }
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let token = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
        match self.tokens.remove(token) {
            Some(_) => WebResponse { status: 204, headers: Vec::new(), body: String::new() },
            None => WebResponse::json(404, &json!({"message": "Not Found"})),
        }
    }
}
