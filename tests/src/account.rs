//! A user of the key service.

use reqwest::Method;
use serde_json::Value;

use crate::{Client, Key, Reply};

/// An account with its own token, and its user's requests to the API.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    id: String,
    token: String,
    client: Client,
}

impl Account {
    pub(crate) fn new(client: Client, name: &str, id: &str, token: &str) -> Self {
        Self { name: name.to_owned(), id: id.to_owned(), token: token.to_owned(), client }
    }

    /// The same account, whose user sends requests to the service at `base`.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        let client = Client::new(base, Some(format!("Bearer {}", self.token)));
        Self::new(client, &self.name, &self.id, &self.token)
    }

    /// The account's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account's opaque id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Registers `key` as `name`; panics unless the service confirms it.
    #[track_caller]
    pub fn adds(&self, key: &Key, name: &str) {
        let reply = self.tries_to_add(key.text(), name).expect("the service answers");
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Registers `text` as a key named `name`. Returns the response, or why there is none.
    pub fn tries_to_add(&self, text: &str, name: &str) -> Result<Reply, reqwest::Error> {
        let body = Value::from(text).to_string();
        self.client.send(Method::PUT, &["v2", "self", "keys", name], Some(body))
    }

    /// Deletes the key named `name`; panics unless the service confirms it.
    #[track_caller]
    pub fn removes(&self, name: &str) {
        let reply = self.tries_to_remove(name).expect("the service answers");
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Deletes the key named `name`. Returns the response, or why there is none.
    pub fn tries_to_remove(&self, name: &str) -> Result<Reply, reqwest::Error> {
        self.client.send(Method::DELETE, &["v2", "self", "keys", name], None)
    }

    /// The response to a request for `path` with the account's token.
    #[track_caller]
    #[must_use]
    pub fn asks(&self, method: Method, path: &[&str]) -> Reply {
        self.client.send(method, path, None).expect("the service answers")
    }

    /// The names and fingerprints of the account's keys.
    #[track_caller]
    #[must_use]
    pub fn keys(&self) -> Vec<(String, String)> {
        let text = |key: &Value, field: &str| key[field].as_str().expect("a text").to_owned();
        self.listed().iter().map(|key| (text(key, "name"), text(key, "fingerprint"))).collect()
    }

    /// The account's keys as the API lists them.
    #[track_caller]
    #[must_use]
    pub fn listed(&self) -> Vec<Value> {
        let reply =
            self.client.send(Method::GET, &["v2", "self", "keys"], None).expect("the service answers");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json().as_array().expect("an array").clone()
    }
}

/// A key that is registered by an account, as in the feed and the cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The key.
    pub fingerprint: String,
    /// The account's id.
    pub account: String,
    /// The id of the registration.
    pub key_id: String,
}

impl Registration {
    /// The registration in an entry of the feed, or in a line of `pushkeys list --json`.
    #[track_caller]
    #[must_use]
    pub fn of(entry: &Value) -> Self {
        let text = |field: &str| {
            entry.get(field).and_then(Value::as_str).unwrap_or_else(|| panic!("{entry}")).to_owned()
        };
        Self { fingerprint: text("fingerprint"), account: text("account"), key_id: text("key_id") }
    }
}
