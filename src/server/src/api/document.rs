//! What `/openapi.json` says: the API described for programs.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// Kept by hand: a test holds it to what the service answers.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// `GET /openapi.json`
pub(super) async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}
