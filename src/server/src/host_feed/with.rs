//! What a host understands besides the first version of the feed.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use pushkeys_feed::{WITH_CHAIN, WITH_PARAMETER};

/// The words of the query parameter `with`; those of a later version are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct With {
    /// Chain values and digests.
    pub(super) chain: bool,
}

impl With {
    fn of_query(query: &str) -> Self {
        let parameters = form_urlencoded::parse(query.as_bytes());
        let values = parameters.filter(|(name, _)| name == WITH_PARAMETER);
        let mut words = values.flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>());
        Self { chain: words.any(|word| word == WITH_CHAIN) }
    }
}

impl<S: Sync> FromRequestParts<S> for With {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.uri.query().map(Self::of_query).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_later_version_are_ignored() {
        let check = |query: &str, chain: bool| assert_eq!(With::of_query(query), With { chain }, "{query}");
        check("with=chain", true);
        check("with=rights,chain", true);
        check("with=rights%2Cchain&a=b", true);
        check("with=rights&with=chain", true);
        check("", false);
        check("with", false);
        check("with=chains", false);
        check("without=chain", false);
    }
}
