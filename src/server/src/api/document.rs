//! `/openapi.json`: the description of the API for programs.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// Written by hand; a test compares it with the service's responses.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// `GET /openapi.json`
pub(super) async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}
