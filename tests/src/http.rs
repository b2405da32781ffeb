//! An HTTP client that waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};
use tokio::runtime::{Builder, Runtime};

/// The key service answers in milliseconds, and in seconds while it is being killed and a disk is slow.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A client of one key service with one credential. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    authorization: Option<String>,
    http: reqwest::Client,
    runtime: Arc<Runtime>,
}

/// An answer of the key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The media type with its parameters, or nothing.
    pub content_type: String,
    /// The body as text.
    pub body: String,
}

impl Client {
    /// A client of the service at `base`, such as `http://127.0.0.1:8080`, that sends `authorization` as it is.
    #[must_use]
    pub fn new(base: &str, authorization: Option<String>) -> Self {
        let http = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).no_proxy().build().expect("a client");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let base = Url::parse(base).expect("a base URL");
        Self { base, authorization, http, runtime: Arc::new(runtime) }
    }

    /// The answer to a request for `path`, whose segments are percent-encoded here, or why there is none.
    pub fn send(&self, method: Method, path: &[&str], json: Option<String>) -> Result<Reply, reqwest::Error> {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http URL").clear().extend(path);
        let mut request = self.http.request(method, url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let content_type = content_type(response.headers());
            Ok(Reply { status, content_type, body: response.text().await? })
        })
    }
}

impl Reply {
    /// The body as JSON; panics where it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The number that says what happened (`id` of the API's answers), in an answer that has one.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.json().get("id").and_then(serde_json::Value::as_u64)
    }
}

fn content_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
