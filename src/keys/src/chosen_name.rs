//! The names that users choose for keys and accounts.
//!
//! Users distinguish keys by their names, so a name is visible and has one spelling: Unicode's normalization form C,
//! with U+0020 for every space that looks like it. Stored names that are older than these rules are read
//! as text, and can be removed by their exact text.

use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::characters::{has_effect, is_seen, is_space};
use crate::name::{NAME_BYTES_MAX, Name, ParseNameError};

/// The number of characters that are considered for the nearest name.
const NEAREST_CHARACTERS_MAX: usize = 2 * NAME_BYTES_MAX;

macro_rules! chosen_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Name);

        impl $name {
            /// The normalized name in `text`, without blanks around it.
            pub fn parse(text: &str) -> Result<Self, ParseNameError> {
                parse(text).map(Self)
            }

            /// The nearest name to `text`, for callers that must not fail because of a name from elsewhere: characters that
            /// [`Self::parse`] refuses are dropped, and a name that is too long is truncated.
            #[must_use]
            pub fn nearest(text: &str) -> Option<Self> {
                nearest(text).map(Self)
            }

            /// The normalized name in `text`, or `text` itself if it is no name: for the lookup of a name that may
            /// be older than these rules.
            #[must_use]
            pub fn spelling(text: &str) -> String {
                parse(text).map_or_else(|_| text.to_owned(), |name| name.as_str().to_owned())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }

        impl From<$name> for Name {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

chosen_name!(
    /// The name that an account gave to one of its keys. It is the last segment of the key's URL.
    KeyName
);
chosen_name!(
    /// The name of an account.
    AccountName
);

fn parse(text: &str) -> Result<Name, ParseNameError> {
    let name = text.trim();
    if name.is_empty() {
        return Err(ParseNameError::Empty);
    }
    if !is_plain(name) {
        check_characters(text)?;
    }
    let spelled = spelled(name);
    if spelled.split('/').any(|step| matches!(step, "." | "..")) {
        return Err(ParseNameError::PathStep);
    }
    Name::bounded(spelled)
}

fn nearest(text: &str) -> Option<Name> {
    if let Ok(name) = parse(text) {
        return Some(name);
    }
    let mut kept: Vec<char> = text.trim().chars().take(NEAREST_CHARACTERS_MAX).collect();
    // A dropped character may be the reason why its neighbour had an effect.
    loop {
        let is_kept: Vec<bool> = (0..kept.len()).map(|place| has_effect(&kept, place)).collect();
        if is_kept.iter().all(|&is_kept| is_kept) {
            break;
        }
        kept = kept
            .into_iter()
            .zip(is_kept)
            .filter_map(|(character, is_kept)| is_kept.then_some(character))
            .collect();
    }
    let mut kept: String = kept.into_iter().collect();
    kept.truncate(kept.floor_char_boundary(NAME_BYTES_MAX));
    loop {
        match parse(&kept) {
            Ok(name) => return Some(name),
            // The cut split a sequence of characters, or the normalized name is longer.
            Err(ParseNameError::Character { .. } | ParseNameError::TooLong(_)) => kept.pop()?,
            Err(ParseNameError::Empty | ParseNameError::Unseen { .. } | ParseNameError::PathStep) => {
                return None;
            }
        };
    }
}

/// Printable ASCII, as almost all names are: nothing to check or normalize.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn check_characters(text: &str) -> Result<(), ParseNameError> {
    let start = text.chars().take_while(|character| character.is_whitespace()).count();
    let characters: Vec<char> = text.trim_end().chars().collect();
    let name = characters.get(start..).unwrap_or_default();
    let found = |place: usize, character: &char| (*character, start + place + 1);
    if let Some((place, character)) = name.iter().enumerate().find(|(place, _)| !has_effect(name, *place)) {
        let (character, place) = found(place, character);
        return Err(ParseNameError::Character { character, place });
    }
    if name.iter().any(|&character| is_seen(character)) {
        return Ok(());
    }
    let unseen = name.iter().enumerate().find(|(_, character)| !character.is_whitespace());
    let (character, place) = unseen.map_or((' ', 1), |(place, character)| found(place, character));
    Err(ParseNameError::Unseen { character, place })
}

/// `name` normalized.
fn spelled(name: &str) -> Box<str> {
    if is_plain(name) {
        return name.into();
    }
    let spaced: String =
        name.chars().map(|character| if is_space(character) { ' ' } else { character }).collect();
    ComposingNormalizerBorrowed::new_nfc().normalize(&spaced).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ParseNameError>) {
        let found = KeyName::parse(text);
        assert_eq!(found.as_ref().map(KeyName::as_str).map_err(|error| *error), expected, "{text:?}");
        assert_eq!(AccountName::parse(text).map(Name::from), found.map(Name::from));
    }

    fn refused(character: char, place: usize) -> Result<&'static str, ParseNameError> {
        Err(ParseNameError::Character { character, place })
    }

    #[test]
    fn real_names_are_accepted() {
        for text in [
            "laptop",
            "my key/é+1",
            "a?b#c",
            "%2e%2e",
            "it's(*)",
            "x;y",
            "`id` $(id) \"q\"",
            "...",
            ".ssh",
            "a/b..",
            "🔑",
            "لپ\u{200c}تاپ",
            "👩\u{200d}💻",
            "🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
            "⠁\u{2800}⠃",
            "ノート",
        ] {
            check(text, Ok(text));
        }
        check("  laptop \n", Ok("laptop"));
        check(&"é".repeat(127), Ok(&"é".repeat(127)));
    }

    #[test]
    fn invisible_names_are_refused() {
        check(" \t ", Err(ParseNameError::Empty));
        check("\u{3164}", refused('\u{3164}', 1));
        check("  a\u{3164}", refused('\u{3164}', 4));
        check("\u{200d}", refused('\u{200d}', 1));
        check("\u{fe0f}", refused('\u{fe0f}', 1));
        check(" \u{2800}\u{2800}", Err(ParseNameError::Unseen { character: '\u{2800}', place: 2 }));
        check("\u{301}", Err(ParseNameError::Unseen { character: '\u{301}', place: 1 }));
        check("lap\u{200c}top", refused('\u{200c}', 4));
    }

    #[test]
    fn control_characters_are_refused_in_names() {
        check("a\nb", refused('\n', 2));
        check("a\x1b[31m", refused('\x1b', 2));
        check("a\u{202e}b", refused('\u{202e}', 2));
        check("a\u{200e}b", refused('\u{200e}', 2));
        check("a\u{2028}b", refused('\u{2028}', 2));
    }

    #[test]
    fn names_that_look_alike_are_normalized_to_one() {
        check("cafe\u{301}", Ok("caf\u{e9}"));
        check("my\u{a0}key", Ok("my key"));
        check("my\u{3000}key", Ok("my key"));
        check("\u{212b}ngstr\u{f6}m", Ok("\u{c5}ngstr\u{f6}m"));
        // Three bytes become nine.
        check(&"\u{1d15f}".repeat(60), Err(ParseNameError::TooLong(480)));
    }

    #[test]
    fn a_dot_segment_is_refused_as_a_name() {
        for text in [".", "..", " .. ", "../x", "a/./b", "a/..", "/.."] {
            check(text, Err(ParseNameError::PathStep));
        }
    }

    #[test]
    fn an_error_names_the_character_and_its_place() {
        let message = |text: &str| KeyName::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("ab\u{202e}"),
            "the name contains the invisible or control character U+202E (character 3 of it)"
        );
        assert_eq!(message("\u{2800}"), "the name has no visible character: character 1 of it is U+2800");
    }

    #[test]
    fn the_nearest_name_keeps_the_allowed_characters() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(KeyName::nearest(text).as_ref().map(KeyName::as_str), expected, "{text:?}");
        };
        check("laptop", Some("laptop"));
        check("a\nb\u{202e}", Some("ab"));
        check("lap\u{200c}top", Some("laptop"));
        check("cafe\u{301}", Some("caf\u{e9}"));
        for nothing in ["\u{7}", "\u{3164}", "\u{2800}", "..", ""] {
            check(nothing, None);
        }
        check(&"é".repeat(500), Some(&"é".repeat(127)));
        let flag = "🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}";
        check(&format!("{}{flag}", "x".repeat(240)), Some(&format!("{}🏴", "x".repeat(240))));
    }

    proptest! {
        #[test]
        fn a_name_is_normalized_and_printable(text in any::<String>()) {
            for name in [KeyName::parse(&text).ok(), KeyName::nearest(&text)].into_iter().flatten() {
                prop_assert_eq!(KeyName::parse(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name.into()));
            }
        }

        #[test]
        fn a_name_is_its_own_nearest(text in "\\PC{1,40}") {
            if let Ok(name) = KeyName::parse(&text) {
                prop_assert_eq!(KeyName::nearest(&text), Some(name));
            }
        }
    }
}
