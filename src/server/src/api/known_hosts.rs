//! `GET /known_hosts`: the published host keys of push hosts, in ssh's format.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;
use super::state::Api;
use crate::store::HostKey;

/// A line for each published key. Asks for no credential: host keys are public.
pub(super) async fn show(State(api): State<Api>) -> Result<Response, ApiError> {
    let keys = api.store.published_host_keys().await.map_err(|error| ApiError::unavailable(&error))?;
    let mut text = String::new();
    for line in keys.iter().filter_map(HostKey::known_hosts_line) {
        text.push_str(&line);
        text.push('\n');
    }
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    Ok((headers, text).into_response())
}
