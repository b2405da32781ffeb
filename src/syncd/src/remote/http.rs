//! Requests to key services: no redirects, no proxies, nothing unbounded, and every refusal with its reason.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pushkeys_feed::REPORT_MEDIA_TYPE;
use pushkeys_keys::Hint;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

use super::credentials::Credentials;
use super::error::{Refusal, RequestError};
use crate::config::Remote;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer to a report is short.
const REPLY_TIME_MAX: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("pushkeys-syncd/", env!("CARGO_PKG_VERSION"));
/// How much of a header of the answer is repeated in a message.
const HEADER_SHOWN_CHARACTERS_MAX: usize = 80;
/// How much of its reason for a refusal.
const REASON_SHOWN_CHARACTERS_MAX: usize = 300;

/// One request and what its answer must look like.
pub(crate) struct Request<'a> {
    pub(crate) remote: &'a Remote,
    pub(crate) url: Url,
    /// A header besides those of every request.
    pub(crate) header: Option<(HeaderName, String)>,
    /// What is sent, in JSON; without it the request is a GET.
    pub(crate) body: Option<Vec<u8>>,
    /// A stream of events must not wait for a compressor's buffer.
    pub(crate) compressed: bool,
    /// The content type that is asked for, and that errors name.
    pub(crate) media_type: &'static str,
    /// Other content types that are accepted.
    pub(crate) media_types_too: &'static [&'static str],
}

/// An answer of the right status and type, read piece by piece within its bounds.
pub(crate) struct Body {
    response: Response,
    url: String,
    silence_max: Duration,
    bytes: u64,
    started: Instant,
    bounds: Option<Bounds>,
}

/// The bounds of an answer that has an end.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// After decompression.
    pub(crate) bytes_max: u64,
    pub(crate) duration_max: Duration,
}

/// Sends `body`, and returns the answer; one that is longer than `bytes_max` is refused.
pub(crate) async fn post_json(
    remote: &Remote,
    url: Url,
    body: Vec<u8>,
    bytes_max: u64,
) -> Result<Vec<u8>, RequestError> {
    let request = Request { body: Some(body), ..Request::get(remote, url, REPORT_MEDIA_TYPE) };
    let mut body = request.send(Some(Bounds { bytes_max, duration_max: REPLY_TIME_MAX })).await?;
    let mut answer = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// `path` below the base address of the key service.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

impl<'a> Request<'a> {
    /// Asks for what is at `url`, of the content type `media_type`, as it is.
    pub(crate) fn get(remote: &'a Remote, url: Url, media_type: &'static str) -> Self {
        Self { remote, url, header: None, body: None, compressed: false, media_type, media_types_too: &[] }
    }

    /// Sends the request. Without `bounds` the answer has no end.
    pub(crate) async fn send(self, bounds: Option<Bounds>) -> Result<Body, RequestError> {
        let response = self.respond().await?;
        self.check(response, bounds).await
    }

    /// Sends the request; `None` if the answer is that nothing has changed.
    pub(crate) async fn send_if_changed(self, bounds: Bounds) -> Result<Option<Body>, RequestError> {
        let response = self.respond().await?;
        if response.status() == StatusCode::NOT_MODIFIED && self.header.is_some() {
            return Ok(None);
        }
        self.check(response, Some(bounds)).await.map(Some)
    }

    async fn respond(&self) -> Result<Response, RequestError> {
        let url = self.url.as_str();
        let silence_max = self.remote.silence_max;
        let client = client(self.remote, self.compressed, url)?;
        let mut request = match &self.body {
            None => client.get(self.url.clone()),
            Some(body) => {
                client.post(self.url.clone()).header(CONTENT_TYPE, REPORT_MEDIA_TYPE).body(body.clone())
            }
        };
        request = request.header(ACCEPT, self.media_type);
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        tokio::time::timeout(CONNECT_TIMEOUT + silence_max, request.send())
            .await
            .map_err(|_| silent(url, silence_max))?
            .map_err(|source| RequestError::Connect { url: url.to_owned(), source: source.without_url() })
    }

    async fn check(&self, mut response: Response, bounds: Option<Bounds>) -> Result<Body, RequestError> {
        let url = self.url.to_string();
        check_status(&mut response, &url, self.remote.silence_max).await?;
        self.check_type(response.headers(), &url)?;
        let silence_max = self.remote.silence_max;
        Ok(Body { response, url, silence_max, bytes: 0, started: Instant::now(), bounds })
    }

    fn check_type(&self, headers: &HeaderMap, url: &str) -> Result<(), RequestError> {
        let found = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let essence = found.split(';').next().unwrap_or_default().trim();
        let is_expected = |name: &str| essence.eq_ignore_ascii_case(name);
        if is_expected(self.media_type) || self.media_types_too.iter().any(|name| is_expected(name)) {
            return Ok(());
        }
        let found = pushkeys_keys::escape(found).chars().take(HEADER_SHOWN_CHARACTERS_MAX).collect();
        Err(RequestError::ContentType { url: url.to_owned(), found, expected: self.media_type })
    }
}

/// A client that shows this host's credentials, and follows neither redirects nor proxies.
pub(crate) fn client(remote: &Remote, compressed: bool, url: &str) -> Result<Client, RequestError> {
    let credentials = Credentials::load(remote)?;
    let mut headers = HeaderMap::new();
    headers.extend(credentials.authorization.map(|value| (AUTHORIZATION, value)));
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .https_only(remote.url.scheme() == "https");
    if !compressed {
        builder = builder.no_gzip().no_zstd();
    }
    if let Some(ca_certificates) = credentials.ca_certificates {
        builder = builder.tls_certs_only(ca_certificates);
    } else if remote.url.scheme() != "https" {
        // A service on this machine can be asked where no CA certificates are installed.
        builder = builder.tls_certs_only([]);
    }
    if let Some(identity) = credentials.identity {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|source| RequestError::Connect { url: url.to_owned(), source })
}

impl Body {
    /// The next piece, or `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        let wait = match self.bounds {
            Some(bounds) => bounds.duration_max.saturating_sub(self.started.elapsed()).min(self.silence_max),
            None => self.silence_max,
        };
        let Ok(result) = tokio::time::timeout(wait, self.response.chunk()).await else {
            return Err(self.too_slow());
        };
        let chunk = result
            .map_err(|source| RequestError::Body { url: self.url.clone(), source: source.without_url() })?;
        self.bytes += chunk.as_ref().map_or(0, Bytes::len) as u64;
        match self.bounds {
            Some(Bounds { bytes_max, .. }) if self.bytes > bytes_max => {
                Err(RequestError::TooLong { url: self.url.clone(), bytes_max })
            }
            _ => Ok(chunk),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The value of a header of the answer.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.response.headers().get(name)
    }

    fn too_slow(&self) -> RequestError {
        match self.bounds {
            Some(Bounds { duration_max, .. }) if self.started.elapsed() >= duration_max => {
                RequestError::TooSlow { url: self.url.clone(), seconds_max: duration_max.as_secs() }
            }
            _ => silent(&self.url, self.silence_max),
        }
    }
}

async fn check_status(response: &mut Response, url: &str, silence_max: Duration) -> Result<(), RequestError> {
    let status = response.status();
    let url = url.to_owned();
    if status == StatusCode::OK {
        Ok(())
    } else if status.is_redirection() {
        let hint = Hint::new("put the final address into `url`");
        Err(RequestError::Redirect { url, status: status.as_u16(), hint })
    } else {
        let refusal = tokio::time::timeout(silence_max, refusal(response)).await.ok().flatten();
        Err(RequestError::of_status(&url, status.as_u16(), refusal.unwrap_or_default()))
    }
}

/// What an answer in plain text says: why on its first line and, as services of ours do, what to do on the second.
async fn refusal(response: &mut Response) -> Option<Refusal> {
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.starts_with("text/plain") {
        return None;
    }
    let chunk = response.chunk().await.ok()??;
    let text = String::from_utf8_lossy(&chunk);
    let mut lines =
        text.lines().map(|line| line.chars().take(REASON_SHOWN_CHARACTERS_MAX).collect::<String>());
    let reason = lines.next()?;
    let hint = lines.next().and_then(|line| line.strip_prefix("hint: ").map(str::to_owned));
    Some(Refusal { reason: Some(reason), hint })
}

fn silent(url: &str, silence_max: Duration) -> RequestError {
    RequestError::Silent { url: url.to_owned(), seconds: silence_max.as_secs_f32() }
}

#[cfg(test)]
mod tests {
    use pushkeys_feed::SNAPSHOT_PATH;

    use super::*;

    #[test]
    fn the_feed_is_found_below_the_base_address() {
        let check = |base: &str, expected: &str| {
            assert_eq!(below(&base.parse().unwrap(), SNAPSHOT_PATH).as_str(), expected);
        };
        check("https://k.example", "https://k.example/v1/feed/snapshot");
        check("https://k.example/", "https://k.example/v1/feed/snapshot");
        check("https://k.example:8443/keys/", "https://k.example:8443/keys/v1/feed/snapshot");
    }
}
