//! What this host has applied, told to the key service, so that somebody can see when a change is everywhere.
//!
//! It is a courtesy: nothing here waits for it, and a service that does not know it is not asked again for a while.

use std::convert::Infallible;
use std::time::Duration;

use pushkeys_feed::{APPLIED_PATH, Cursor};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};

use crate::config::Remote;
use crate::remote::http::{self, below};
use crate::source::Context;

/// The service counts whoever said nothing for 15 s as gone.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// What changes meanwhile is told together.
const REST: Duration = Duration::from_millis(200);
/// How long a service that does not take receipts is left alone.
const REFUSED_REST: Duration = Duration::from_mins(10);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// Tells the service of `remote` what is applied, for as long as the source runs.
pub(crate) async fn tell(context: &Context, remote: &Remote) -> Infallible {
    let mut client = None;
    loop {
        tokio::select! {
            () = context.applied.notified() => {}
            () = tokio::time::sleep(INTERVAL_MAX) => {}
        }
        let Some(cursor) = context.board.cursor_of(&context.settings.name) else { continue };
        if cursor.parse::<Cursor>().is_err() {
            continue;
        }
        let url = below(&remote.url, APPLIED_PATH);
        // Credentials are read when a connection is made anew, as everywhere.
        let Some(ready) = client.take().or_else(|| http::client(remote, false, url.as_str()).ok()) else {
            continue;
        };
        match send(&ready, url, &cursor).await {
            Some(status) if status.is_success() => client = Some(ready),
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                tracing::debug!(source = %context.settings.name, "the service takes no receipts");
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
