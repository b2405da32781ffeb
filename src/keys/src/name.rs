//! Names that users choose. They are shown, never interpreted, and never part of an `authorized_keys` line.

use thiserror::Error;

use crate::escape::is_unprintable;

/// The longest name in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest [escaped](crate::escape) form of a name: every byte can grow to the ten of `\u{10ffff}` at most.
pub const NAME_ESCAPED_BYTES_MAX: usize = NAME_BYTES_MAX * 10;

/// A name that a user gave to a key, or that an account goes by: 1 to [`NAME_BYTES_MAX`] bytes of
/// UTF-8 that can be shown on a terminal as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseNameError {
    /// Nothing but blanks.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name is {0} bytes long, and at most {NAME_BYTES_MAX} are accepted")]
    TooLong(usize),
    /// A character that could move a cursor, hide text or turn its direction.
    #[error("the name contains the invisible or control character U+{0:04X}")]
    Control(u32),
}

impl Name {
    /// The name of `text`, without blanks around it.
    pub fn parse(text: &str) -> Result<Self, ParseNameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseNameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(ParseNameError::TooLong(text.len()));
        }
        match text.chars().find(|&character| is_unprintable(character)) {
            Some(character) => Err(ParseNameError::Control(character.into())),
            None => Ok(Self(text.into())),
        }
    }

    /// The nearest name to `text`, for entries of a feed whose key must work whatever its title is:
    /// what [`Name::parse`] refuses is left out, and what is too long is cut.
    #[must_use]
    pub fn nearest(text: &str) -> Option<Self> {
        let mut kept = String::new();
        for character in text.trim().chars().filter(|&character| !is_unprintable(character)) {
            if kept.len() + character.len_utf8() > NAME_BYTES_MAX {
                break;
            }
            kept.push(character);
        }
        Self::parse(&kept).ok()
    }

    /// The name as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
    fn names_seen_on_the_wire_are_names() {
        for text in
            ["my key/é+1", "a?b#c", "%2e%2e", "it's(*)", "🔑", "x;y", "👩\u{200d}💻", "`id` $(id) \"q\""]
        {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Name::parse("  laptop \n").unwrap().as_str(), "laptop");
    }

    #[test]
    fn names_that_act_instead_of_being_seen_are_refused() {
        assert_eq!(Name::parse(" \t "), Err(ParseNameError::Empty));
        assert_eq!(Name::parse("a\nb"), Err(ParseNameError::Control(0x0a)));
        assert_eq!(Name::parse("a\x1b[31m"), Err(ParseNameError::Control(0x1b)));
        assert_eq!(Name::parse("a\u{202e}b"), Err(ParseNameError::Control(0x202e)));
        assert_eq!(Name::parse(&"é".repeat(128)), Err(ParseNameError::TooLong(256)));
        assert!(Name::parse(&"é".repeat(127)).is_ok());
    }

    #[test]
    fn the_nearest_name_keeps_what_can_be_shown() {
        assert_eq!(Name::nearest("a\nb\u{202e}").unwrap().as_str(), "ab");
        assert_eq!(Name::nearest("\u{7}"), None);
        assert_eq!(Name::nearest(&"é".repeat(500)).unwrap().as_str().len(), 254);
    }

    proptest! {
        #[test]
        fn an_escaped_name_is_bounded(text in any::<String>()) {
            if let Some(name) = Name::nearest(&text) {
                prop_assert!(escape(name.as_str()).len() <= NAME_ESCAPED_BYTES_MAX);
            }
        }
    }
}
