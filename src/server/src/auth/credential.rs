//! The credential in the `Authorization` header.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::error::AuthError;
use super::oauth::{self, OauthCredential};

/// The longest `Authorization` header in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// A credential as it was sent.
pub(super) enum Credential<'a> {
    Bearer(&'a str),
    Oauth(OauthCredential),
}

impl<'a> Credential<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // With two, a proxy in front could have checked the other.
        let (Some(value), None) = (values.next(), values.next()) else { return Err(AuthError::Unreadable) };
        if value.len() > AUTHORIZATION_BYTES_MAX {
            return Err(AuthError::Unreadable);
        }
        let text = value.to_str().map_err(|_| AuthError::Unreadable)?;
        let (scheme, rest) = text.trim().split_once(' ').ok_or(AuthError::Unreadable)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Self::Bearer(rest.trim()))
        } else if scheme.eq_ignore_ascii_case("oauth") {
            oauth::parse(rest).map(Self::Oauth)
        } else {
            Err(AuthError::Unreadable)
        }
    }
}
