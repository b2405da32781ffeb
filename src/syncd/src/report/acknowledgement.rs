//! Acknowledgements: what this host has applied, so that the key service knows when a change is in force everywhere.
//!
//! They are a courtesy: nothing here waits for them, and a service that does not know them is not asked again for a while.

use std::convert::Infallible;
use std::time::Duration;

use pushkeys_feed::{APPLIED_PATH, Cursor};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};

use crate::apply::source_cache::SourceCache;
use crate::config::Remote;
use crate::remote::http::{self, below};

/// The service counts a host that was silent for 15 s as gone.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// What is applied within this time is acknowledged together.
const REST: Duration = Duration::from_millis(200);
/// How long a service that does not take acknowledgements is left alone.
const REFUSED_REST: Duration = Duration::from_mins(10);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// Acknowledges to the service of `remote` what is applied to `cache`, for as long as the source runs.
pub(crate) async fn send_all(cache: &SourceCache, remote: &Remote) -> Infallible {
    let mut client = None;
    let mut in_force = cache.in_force();
    // The service hears at once of a host that was away.
    in_force.mark_changed();
    loop {
        let _ = tokio::time::timeout(INTERVAL_MAX, in_force.changed()).await;
        let cursor = in_force.borrow_and_update().as_ref().and_then(|in_force| in_force.cursor.clone());
        let Some(cursor) = cursor.filter(|cursor| cursor.parse::<Cursor>().is_ok()) else { continue };
        let url = below(&remote.url, APPLIED_PATH);
        // Credentials are read again for each connection, as everywhere.
        let Some(ready) = client.take().or_else(|| http::client(remote, false, url.as_str()).ok()) else {
            continue;
        };
        match send(&ready, url, &cursor).await {
            Some(status) if status.is_success() => client = Some(ready),
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                tracing::debug!(source = %cache.name, "the service takes no acknowledgements");
                tokio::time::sleep(REFUSED_REST).await;
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(REST).await;
    }
}

async fn send(client: &Client, url: reqwest::Url, cursor: &str) -> Option<StatusCode> {
    // A cursor that was parsed has no character that JSON escapes.
    let body = format!("{{\"cursor\":\"{cursor}\"}}");
    let request =
        client.post(url).header(CONTENT_TYPE, "application/json").timeout(REQUEST_TIME_MAX).body(body);
    Some(request.send().await.ok()?.status())
}
