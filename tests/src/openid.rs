//! A test double of an OpenID provider, with correctly signed ID tokens and with forged or faulty ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::web::{WebRequest, WebResponse, WebServer};

/// The service's client id at the provider.
const OPENID_CLIENT_ID: &str = "pushkeys";
/// The service's client secret.
pub const OPENID_CLIENT_SECRET: &str = "providers-secret-of-the-client";

/// A fault of an ID token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// Issued for another client.
    Audience,
    /// Issued by another issuer.
    Issuer,
    /// Expired since yesterday.
    Expired,
    /// With the nonce of the previous attempt.
    ReplayedNonce,
    /// `alg: none`.
    Unsigned,
    /// Signed with the client's secret, HMAC.
    Shared,
    /// Signed by an unpublished key under the name of a published one.
    OtherKey,
    /// No token at all.
    Missing,
    /// From an old session, although a new sign-in was requested.
    OldSession,
    /// Without the time of the sign-in.
    NoAuthTime,
}

/// The grant of a code.
struct Granted {
    nonce: String,
    challenge: String,
    /// The time of the sign-in, in seconds since 1970.
    auth_time: u64,
}

struct World {
    /// The user's claims; `None` denies access.
    user: Option<Value>,
    /// The time since the user signed in at the provider, in seconds.
    known_for_s: u64,
    codes: HashMap<String, Granted>,
    nonces: Vec<String>,
    forgery: Option<Forgery>,
    key: EncodingKey,
    key_id: String,
    issued: usize,
    /// Changes responses.
    change: Option<Change>,
}

/// Gets the path of a request and its response.
type Change = Box<dyn Fn(&str, &mut WebResponse) + Send>;

/// The provider.
pub struct OpenId {
    web: WebServer,
    world: Arc<Mutex<World>>,
}

impl OpenId {
    /// Starts a provider with the user of these claims in the browser.
    #[must_use]
    pub fn start(user: Value) -> Self {
        let world = World {
            user: Some(user),
            known_for_s: 0,
            codes: HashMap::new(),
            nonces: Vec::new(),
            forgery: None,
            key: new_key(),
            key_id: "key-1".to_owned(),
            issued: 0,
            change: None,
        };
        let world = Arc::new(Mutex::new(world));
        let answering = Arc::clone(&world);
        let web = WebServer::start(move |asked| {
            answering.lock().unwrap_or_else(PoisonError::into_inner).answer(asked)
        });
        Self { web, world }
    }

    /// The `[oidc]` table of the service for it; the client's secret is in the file at `secret_file`.
    #[must_use]
    pub fn settings(&self, secret_file: &str, creates_accounts: bool) -> String {
        format!(
            "[oidc]\nissuer = \"{}\"\nlabel = \"Example ID\"\nclient_id = \"{OPENID_CLIENT_ID}\"\n\
             client_secret_file = \"{secret_file}\"\ncreate_accounts = {creates_accounts}\nallow_http_loopback = true\n",
            self.web.url()
        )
    }

    /// Makes the user of these claims the one in the browser; `None` denies access.
    pub fn is_used_by(&self, user: Option<Value>) {
        self.lock().user = user;
    }

    /// The user signed in this number of seconds ago, and is not asked again unless a client requires it.
    pub fn user_signed_in_before(&self, seconds: u64) {
        self.lock().known_for_s = seconds;
    }

    /// Sets the fault of ID tokens.
    pub fn forges(&self, forgery: Option<Forgery>) {
        self.lock().forgery = forgery;
    }

    /// Changes each response by `change`, which gets the path of the request and the response.
    pub fn changes_responses(&self, change: impl Fn(&str, &mut WebResponse) + Send + 'static) {
        self.lock().change = Some(Box::new(change));
    }

    /// Replaces members of the response with the tokens.
    pub fn grants_with(&self, members: Value) {
        self.changes_responses(move |path, response| {
            if path == "/token" {
                response.replaces_members(&members);
            }
        });
    }

    /// Replaces the signing key by a new published one.
    pub fn rotates_its_key(&self) {
        let mut world = self.lock();
        world.key = new_key();
        "key-2".clone_into(&mut world.key_id);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_key() -> EncodingKey {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    EncodingKey::from_ec_der(key.expect("a key").as_ref())
}

impl World {
    fn answer(&mut self, asked: &WebRequest) -> WebResponse {
        let mut response = self.unchanged_answer(asked);
        if let Some(change) = &self.change {
            change(&asked.path, &mut response);
        }
        response
    }

    fn unchanged_answer(&mut self, asked: &WebRequest) -> WebResponse {
        let host = asked.headers.get("host").map_or("", String::as_str);
        let issuer = format!("http://{host}");
        match asked.path.as_str() {
            "/.well-known/openid-configuration" => WebResponse::json(
                200,
                &json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "jwks_uri": format!("{issuer}/keys"),
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                }),
            ),
            "/keys" => {
                let mut key = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a public key");
                key.common.key_id = Some(self.key_id.clone());
                // A key of an unknown type is published, too.
                WebResponse::json(200, &json!({"keys": [{"kty": "future", "kid": "key-0"}, key]}))
            }
            "/authorize" => self.authorize(asked),
            "/token" => self.exchange(asked, &issuer),
            _ => WebResponse::json(404, &json!({})),
        }
    }

    fn authorize(&mut self, asked: &WebRequest) -> WebResponse {
        let field = |name: &str| asked.fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field("code_challenge_method"), "S256");
        assert!(field("scope").split(' ').any(|scope| scope == "openid"));
        let mut back = Url::parse(&field("redirect_uri")).expect("a redirect URI");
        if self.user.is_some() {
            self.issued += 1;
            let code = format!("code-{}", self.issued);
            // Clients that need a recent sign-in also have to require the time.
            let is_anew = field("prompt") == "login"
                && field("max_age").parse::<u64>().is_ok_and(|seconds| seconds <= 60)
                && self.forgery != Some(Forgery::OldSession);
            let age_s = if is_anew { 0 } else { self.known_for_s };
            let granted = Granted {
                nonce: field("nonce"),
                challenge: field("code_challenge"),
                auth_time: get_current_timestamp() - age_s,
            };
            self.codes.insert(code.clone(), granted);
            self.nonces.push(field("nonce"));
            back.query_pairs_mut().append_pair("code", &code);
        } else {
            back.query_pairs_mut().append_pair("error", "access_denied");
        }
        back.query_pairs_mut().append_pair("state", &field("state"));
        WebResponse::see(&back)
    }

    fn exchange(&mut self, asked: &WebRequest, issuer: &str) -> WebResponse {
        let field = |name: &str| asked.fields.get(name).map_or("", String::as_str);
        let basic = BASE64.encode(format!("{OPENID_CLIENT_ID}:{OPENID_CLIENT_SECRET}").as_bytes());
        if asked.headers.get("authorization") != Some(&format!("Basic {basic}")) {
            return WebResponse::json(401, &json!({"error": "invalid_client"}));
        }
        let verifier = BASE64URL_NOPAD.encode(&Sha256::digest(field("code_verifier")));
        match self.codes.remove(field("code")) {
            Some(granted) if granted.challenge == verifier => {
                let mut body = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 60});
                if self.forgery != Some(Forgery::Missing) {
                    let token = self.id_token(issuer, &granted);
                    body.as_object_mut().expect("an object").insert("id_token".to_owned(), token.into());
                }
                WebResponse::json(200, &body)
            }
            _ => WebResponse::json(400, &json!({"error": "invalid_grant"})),
        }
    }

    fn id_token(&self, issuer: &str, granted: &Granted) -> String {
        let now = get_current_timestamp();
        let mut claims = self.user.clone().unwrap_or_default();
        let claims = claims.as_object_mut().expect("claims are an object");
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("iss", issuer.into());
        claim("aud", OPENID_CLIENT_ID.into());
        claim("nonce", granted.nonce.as_str().into());
        if self.forgery != Some(Forgery::NoAuthTime) {
            claim("auth_time", granted.auth_time.into());
        }
        claim("iat", now.into());
        claim("exp", (now + 300).into());
        let mut header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let mut key = self.key.clone();
        match self.forgery {
            Some(Forgery::Audience) => drop(claim("aud", "others".into())),
            Some(Forgery::Issuer) => drop(claim("iss", "https://id.example.org".into())),
            Some(Forgery::Expired) => drop(claim("exp", (now - 86_400).into())),
            Some(Forgery::ReplayedNonce) => {
                let before = self.nonces.iter().rev().nth(1).expect("an attempt before");
                claim("nonce", before.as_str().into());
            }
            Some(Forgery::OtherKey) => key = new_key(),
            Some(Forgery::Shared) => {
                header.alg = Algorithm::HS256;
                key = EncodingKey::from_secret(OPENID_CLIENT_SECRET.as_bytes());
            }
            Some(Forgery::Unsigned) => {
                let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
                let header = json!({"alg": "none", "kid": self.key_id});
                let claims = serde_json::to_string(claims).expect("JSON");
                return format!("{}.{}.", part(header.to_string()), part(claims));
            }
            Some(Forgery::Missing | Forgery::OldSession | Forgery::NoAuthTime) | None => {}
        }
        encode(&header, claims, &key).expect("a token")
    }
}
