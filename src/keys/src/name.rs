//! Names for display. They are never interpreted, and never part of an `authorized_keys` line.
//!
//! `KeyName` and `AccountName` (feature `policy`) decide which names may be registered for keys and accounts; stored
//! names may be older than their rules.

use thiserror::Error;

use crate::escape::is_unprintable;

/// The longest name in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest [escaped](crate::escape()) form of a name in bytes: every byte becomes ten at most, as in `\u{10ffff}`.
pub const NAME_ESCAPED_BYTES_MAX: usize = NAME_BYTES_MAX * 10;

/// A name for display: 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 that are safe to write to a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseNameError {
    /// Only blanks.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name is {0} bytes long, and at most {NAME_BYTES_MAX} are accepted")]
    TooLong(usize),
    /// A character that could move the cursor, hide text or change its direction, or that is invisible where it stands.
    #[error(
        "the name contains the invisible or control character U+{:04X} (character {place} of it)",
        u32::from(*character)
    )]
    Character {
        /// The first one.
        character: char,
        /// Its place in the text that was refused, from 1.
        place: usize,
    },
    /// No visible character. `character` is the first that is not a space.
    #[error(
        "the name has no visible character: character {place} of it is U+{:04X}",
        u32::from(*character)
    )]
    Unseen {
        /// The first one.
        character: char,
        /// Its place in the text that was refused, from 1.
        place: usize,
    },
    /// `.` or `..`, alone or between slashes, which clients and proxies resolve as steps of a path.
    #[error("a name cannot be `.` or `..`, or have one of them between slashes")]
    PathStep,
}

impl Name {
    /// The name in `text`, without blanks around it.
    pub fn parse(text: &str) -> Result<Self, ParseNameError> {
        let name = text.trim();
        if name.is_empty() {
            return Err(ParseNameError::Empty);
        }
        let is_refused = |character: char| is_unprintable(character) && !is_tag(character);
        if let Some((place, character)) = (1..)
            .zip(text.trim_end().chars())
            .skip_while(|(_, character)| character.is_whitespace())
            .find(|(_, character)| is_refused(*character))
        {
            return Err(ParseNameError::Character { character, place });
        }
        Self::bounded(name.into())
    }

    /// The name `text`, which is valid but for its length.
    pub(crate) fn bounded(text: Box<str>) -> Result<Self, ParseNameError> {
        if text.len() > NAME_BYTES_MAX { Err(ParseNameError::TooLong(text.len())) } else { Ok(Self(text)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tags are harmless for a terminal. Names that are registered have them only in the flags of regions.
fn is_tag(character: char) -> bool {
    matches!(character, '\u{e0020}'..='\u{e007f}')
}

impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::escape::escape;

    #[test]
    fn names_from_recorded_requests_are_accepted() {
        for text in [
            "my key/é+1",
            "a?b#c",
            "%2e%2e",
            "it's(*)",
            "🔑",
            "x;y",
            "👩\u{200d}💻",
            "لپ\u{200c}تاپ",
            "`id` $(id) \"q\"",
        ] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Name::parse("  laptop \n").unwrap().as_str(), "laptop");
    }

    #[test]
    fn names_with_control_characters_are_refused() {
        assert_eq!(Name::parse(" \t "), Err(ParseNameError::Empty));
        let check = |text: &str, character: char, place: usize| {
            assert_eq!(Name::parse(text), Err(ParseNameError::Character { character, place }), "{text:?}");
        };
        check("a\nb", '\n', 2);
        check("  a\x1b[31m", '\x1b', 4);
        check("a\u{202e}b\u{202c}", '\u{202e}', 2);
        assert_eq!(Name::parse(&"é".repeat(128)), Err(ParseNameError::TooLong(256)));
        assert!(Name::parse(&"é".repeat(127)).is_ok());
    }

    proptest! {
        #[test]
        fn an_escaped_name_is_bounded(text in any::<String>()) {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(escape(name.as_str()).len() <= NAME_ESCAPED_BYTES_MAX);
            }
        }
    }
}
