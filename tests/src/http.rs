//! A blocking HTTP client.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};
use tokio::runtime::{Builder, Runtime};

use crate::process::run;

/// The key service answers in milliseconds, or in seconds while it is killed or a disk is slow.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A client of one key service with one credential. Each request has its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    authorization: Option<String>,
    http: reqwest::Client,
    runtime: Arc<Runtime>,
    limit: Duration,
}

/// A response of the key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The media type with its parameters, or an empty text.
    pub content_type: String,
    /// The body as text.
    pub body: String,
}

impl Client {
    /// A client of the service at `base`, such as `http://127.0.0.1:8080`, which sends the header `authorization`.
    #[must_use]
    pub fn new(base: &str, authorization: Option<String>) -> Self {
        Self::trusting(base, authorization, None)
    }

    /// The same, which trusts only the CA certificate `authority`, in PEM.
    #[must_use]
    pub fn trusting(base: &str, authorization: Option<String>, authority: Option<&str>) -> Self {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            // A pooled connection from before a restart of the service would fail when used.
            .pool_max_idle_per_host(0);
        if let Some(authority) = authority {
            let authority = reqwest::Certificate::from_pem(authority.as_bytes()).expect("a certificate");
            http = http.tls_certs_only([authority]);
        }
        let http = http.build().expect("a client");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let base = Url::parse(base).expect("a base URL");
        Self { base, authorization, http, runtime: Arc::new(runtime), limit: ANSWER_TIME_MAX }
    }

    /// The same client with the time limit `limit`.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The response to a request for `path`, or why there is none. In the segments of `path` every special byte is
    /// percent-encoded.
    pub fn send(&self, method: Method, path: &[&str], json: Option<String>) -> Result<Reply, reqwest::Error> {
        let mut url = self.base.clone();
        url.set_path(&path.iter().map(|segment| percent_encoded(segment)).collect::<Vec<_>>().join("/"));
        let mut request = self.http.request(method, url).timeout(self.limit);
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
    /// The body as JSON; panics if it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The number of the error or success in the API (`id`), if the response has one.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.json().get("id").and_then(serde_json::Value::as_u64)
    }
}

fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn content_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The metrics of a daemon at its socket.
#[track_caller]
#[must_use]
pub fn scrape(socket: &Path) -> String {
    run(Command::new("curl").args(["-sSf", "--unix-socket"]).arg(socket).arg("http://localhost/metrics"))
        .output()
}
