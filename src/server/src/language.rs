//! The language of pages and mails, as the browser asks for it.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

/// The most ranges of an `Accept-Language` header that are read.
const RANGES_MAX: usize = 16;

/// A language that the console speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    /// Also for browsers that ask for neither.
    #[default]
    English,
    /// Français.
    French,
}

impl Language {
    /// What the `Accept-Language` of `headers` prefers (RFC 9110, section 12.5.4); the first of equal ones.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (0, Self::default());
        for range in text.split(',').take(RANGES_MAX) {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            if let (Some(language), Some(quality)) = (Self::of_tag(tag.trim()), quality(parameters))
                && quality > best.0
            {
                best = (quality, language);
            }
        }
        best.1
    }

    /// Its code in HTML and in the database.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The language of a tag such as `fr-CA`.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        [Self::English, Self::French]
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.code()))
    }
}

/// In thousandths; 1,000 without a `q`.
fn quality(parameters: &str) -> Option<u16> {
    const MOST: u16 = 1_000;
    let Some(text) = parameters.trim().strip_prefix("q=") else { return Some(MOST) };
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    match whole {
        "1" => Some(MOST),
        "0" if fraction.len() <= 3 => format!("{fraction:0<3}").parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_preferred_one_of_our_languages_is_taken() {
        let check = |text: &str, expected: Language| {
            let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(Language::of(&headers), expected, "{text}");
        };
        assert_eq!(Language::of(&HeaderMap::new()), Language::English);
        check("fr", Language::French);
        check("fr-CA,fr;q=0.9,en;q=0.8", Language::French);
        check("en-GB,en;q=0.9,fr;q=0.8", Language::English);
        check("de,fr;q=0.4,en;q=0.3", Language::French);
        check("de", Language::English);
        check("FR;q=0.25,en;q=0.2", Language::French);
        check("fr;q=0", Language::English);
        check("fr;q=nonsense", Language::English);
    }
}
