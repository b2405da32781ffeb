//! Names that users choose. They are shown, never interpreted, and never part of an `authorized_keys` line.

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

/// The longest name in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest [`escape`]d form of a name: every byte can grow to the ten of `\u{10ffff}` at most.
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

/// `text` so that it can stand in a log line, a terminal or a field of the cache: control characters,
/// line and paragraph separators, marks that turn the direction of text, and the backslash itself
/// become `\\`, `\t`, `\n`, `\r` or `\u{…}`. [`unescape`] is the way back.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| character == '\\' || is_unprintable(character)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            _ if is_unprintable(character) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// The text that [`escape`] made `escaped` of, or `None` where it is not such a text.
#[must_use]
pub fn unescape(escaped: &str) -> Option<String> {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match rest.next()? {
            '\\' => '\\',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'u' => {
                let (hex, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                rest = after.chars();
                char::from_u32(u32::from_str_radix(hex, 16).ok()?)?
            }
            _ => return None,
        });
    }
    Some(text)
}

/// Characters that act on a terminal or on the text around them instead of being seen: the controls
/// C0, DEL and C1, line and paragraph separator, and Unicode's bidirectional and invisible formatting marks
/// (Unicode 15, general categories Cc, Zl, Zp and those of Cf that reorder or hide).
/// ZERO WIDTH JOINER stays: emoji are made with it.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn escaped_text_has_one_meaning() {
        assert_eq!(escape("plain"), "plain");
        assert_eq!(escape("tab\there\\ \x1b[0m\u{202e}"), "tab\\there\\\\ \\u{1b}[0m\\u{202e}");
        for bad in ["\\", "\\x", "\\u{}", "\\u{110000}", "\\u{1b", "\\u1b}"] {
            assert_eq!(unescape(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn escaping_loses_nothing_and_leaves_no_control(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.chars().any(is_unprintable));
            prop_assert_eq!(unescape(&escaped), Some(text));
        }

        #[test]
        fn an_escaped_name_is_bounded(text in any::<String>()) {
            if let Some(name) = Name::nearest(&text) {
                prop_assert!(escape(name.as_str()).len() <= NAME_ESCAPED_BYTES_MAX);
            }
        }
    }
}
