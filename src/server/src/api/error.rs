//! Error responses.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use pushkeys_keys::{ErrorReport, ParseNameError};
use serde::Serialize;

use crate::auth::AuthError;
use crate::github::GithubError;
use crate::metrics::Refused;
use crate::outbound::Remedy;
use crate::store::{PutKeyError, ReportKeyError, StoreError};

/// The only number by which a known client recognises that its PUT was refused.
const PUT_REFUSED: u32 = 505;
const UNAUTHORIZED: u32 = 2001;
const REFUSED: u32 = 4000;
const NOT_FOUND: u32 = 4004;
const NO_GITHUB_ACCOUNT: u32 = 7301;
const METHOD_NOT_ALLOWED: u32 = 4005;
const PRECONDITION_FAILED: u32 = 4012;
const TOO_MANY_REQUESTS: u32 = 4029;
const UNUSABLE: u32 = 5002;
const UNAVAILABLE: u32 = 5003;

/// An error response, with a message for the user.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    id: u32,
    message: String,
    retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, id: u32, message: impl Into<String>) -> Self {
        Self { status, id, message: message.into(), retry_after_s: None }
    }

    /// A key was not stored; the message says why and what to do.
    pub(super) fn refused_put(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, PUT_REFUSED, message)
    }

    /// The credential is missing or not valid.
    pub(super) fn unauthorized(error: &AuthError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED, error.to_string())
    }

    /// A condition of the request is not met.
    pub(super) fn precondition_failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, PRECONDITION_FAILED, message)
    }

    /// The request is not valid.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, REFUSED, message)
    }

    pub(super) fn no_such_warning() -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "this account has no warning of this id")
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "this account has no key of this name")
    }

    pub(super) fn no_github_account() -> Self {
        Self::new(StatusCode::NOT_FOUND, NO_GITHUB_ACCOUNT, "no GitHub account is linked to this account")
    }

    pub(super) fn github(error: &GithubError) -> Self {
        tracing::warn!("GitHub's keys cannot be listed: {}", ErrorReport::of(error));
        match error {
            // A status of 401 would be about the client's own credential.
            GithubError::LinkAgain => Self::new(StatusCode::NOT_FOUND, NO_GITHUB_ACCOUNT, error.to_string()),
            GithubError::RateLimited { wait_s } => {
                Self { retry_after_s: Some(*wait_s), ..Self::busy(&error.to_string()) }
            }
            _ if error.remedy() == Remedy::Operator => {
                Self::new(StatusCode::BAD_GATEWAY, UNUSABLE, error.to_string())
            }
            _ => Self::busy(&error.to_string()),
        }
    }

    /// The token of `clever login` was not approved, or was fetched before.
    pub(super) fn not_approved() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            NOT_FOUND,
            "this login was not approved: approve it in the browser first",
        )
    }

    pub(super) fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, "there is nothing at this path")
    }

    pub(super) fn unknown_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED, "this path has no such method")
    }

    /// The store failed. The cause is only logged.
    pub(super) fn unavailable(error: &StoreError) -> Self {
        Self::failed(error)
    }

    /// Something else failed whose cause is only for the operator.
    pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!("a request failed: {}", ErrorReport::of(error));
        Self::busy("the key service is not available at the moment: try again in a minute")
    }

    /// The request took longer than a client waits.
    pub(super) fn timed_out() -> Self {
        tracing::error!("a request failed: it took too long");
        Self::busy(
            "the key service took too long: check whether the change was made, and try again in a minute",
        )
    }

    /// Another attempt may succeed.
    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, message)
    }

    /// Too many requests; `what` says from where.
    pub(super) fn too_many(what: &str, retry_after_s: u64) -> Self {
        let message = format!("{what}: try again in {retry_after_s} s");
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, TOO_MANY_REQUESTS, message);
        Self { retry_after_s: Some(retry_after_s), ..refusal }
    }

    /// The kind of error for metrics.
    fn kind(&self) -> &'static str {
        match self.id {
            PUT_REFUSED => "key-refused",
            UNAUTHORIZED => "unauthorized",
            REFUSED => "refused",
            NOT_FOUND | NO_GITHUB_ACCOUNT => "not-found",
            METHOD_NOT_ALLOWED => "method-not-allowed",
            PRECONDITION_FAILED => "precondition-failed",
            TOO_MANY_REQUESTS => "too-many-requests",
            _ => "unavailable",
        }
    }

    /// The same as the response to a request with `method`.
    pub(super) fn for_method(self, method: &Method) -> Self {
        if *method != Method::PUT {
            return self;
        }
        let is_kept = matches!(
            self.status,
            StatusCode::UNAUTHORIZED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PRECONDITION_FAILED
        );
        let is_refusal = self.status.is_client_error() && !is_kept;
        let status = if is_refusal { StatusCode::BAD_REQUEST } else { self.status };
        Self { status, id: PUT_REFUSED, ..self }
    }
}

impl From<PutKeyError> for ApiError {
    fn from(error: PutKeyError) -> Self {
        match error {
            PutKeyError::Store(error) => Self::unavailable(&error),
            refusal => Self::refused_put(refusal.to_string()),
        }
    }
}

impl From<ReportKeyError> for ApiError {
    fn from(error: ReportKeyError) -> Self {
        match error {
            ReportKeyError::Store(error) => Self::unavailable(&error),
            ReportKeyError::NoSuchKey => Self::no_such_key(),
            ReportKeyError::NotVerified => Self::refused(error.to_string()),
        }
    }
}

impl From<ParseNameError> for ApiError {
    fn from(error: ParseNameError) -> Self {
        Self::refused_put(format!("{error}: choose another name for this key"))
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    id: u32,
    message: &'a str,
    r#type: &'static str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody { id: self.id, message: &self.message, r#type: "error" });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Refused(self.kind()));
        if let Some(retry_after_s) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
        }
        response
    }
}
