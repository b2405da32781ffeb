//! Why a request to a key service fails.

use pushkeys_keys::Hint;
use thiserror::Error;

use super::credentials::CredentialError;

/// Why a request has no answer that can be used.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialError),
    #[error("cannot reach `{url}`")]
    Connect { url: String, source: reqwest::Error },
    #[error("the answer of `{url}` broke off")]
    Body { url: String, source: reqwest::Error },
    #[error("`{url}` was silent for {seconds} s")]
    Silent { url: String, seconds: f32 },
    #[error("`{url}` answered with status {status}{}", reason.as_deref().unwrap_or_default())]
    Status {
        url: String,
        status: u16,
        /// The service's own words, behind a colon.
        reason: Option<String>,
        #[source]
        hint: Option<Hint>,
    },
    #[error("`{url}` answered with status {status}, a redirect, which is not followed")]
    Redirect {
        url: String,
        status: u16,
        #[source]
        hint: Hint,
    },
    #[error("`{url}` answered with the content type `{found}` instead of `{expected}`")]
    ContentType { url: String, found: String, expected: &'static str },
    #[error("the answer of `{url}` is longer than {bytes_max} bytes")]
    TooLong { url: String, bytes_max: u64 },
    #[error("the answer of `{url}` took longer than {seconds_max} s")]
    TooSlow { url: String, seconds_max: u64 },
}

/// What a service says with an answer that is none, in its own words.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// Why.
    pub(super) reason: Option<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
}

impl RequestError {
    /// An answer of another status than the one that was asked for.
    pub(super) fn of_status(url: &str, status: u16, Refusal { reason, hint }: Refusal) -> Self {
        let ours = match status {
            401 | 403 => {
                Some("make a token with `pushkeys-server host add`, and put it into the file of `token_file`")
            }
            404 => Some("check `url`: `/v1/feed/…` is put behind it"),
            _ => None,
        };
        let hint = hint.map(Hint::new).or_else(|| ours.map(Hint::new));
        Self::Status { url: url.to_owned(), status, reason: reason.map(|reason| format!(": {reason}")), hint }
    }

    /// Whether the service could not be reached or could not answer, in contrast to an answer that is refused.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Body { .. } | Self::Silent { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// Whether the service was asked at all.
    pub(crate) fn is_of_answer(&self) -> bool {
        match self {
            Self::Credentials(_) => false,
            Self::Connect { source, .. } => !source.is_connect(),
            _ => true,
        }
    }

    /// Whether the service asks for fewer requests.
    pub(crate) fn is_throttled(&self) -> bool {
        self.status() == Some(429)
    }

    /// The status of the answer, where the status is what is wrong with it.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
