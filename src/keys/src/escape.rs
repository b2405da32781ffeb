//! Escapes arbitrary text so that it is safe to print.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` made safe for a log line, a terminal or a field of the cache: control characters,
/// line and paragraph separators, bidirectional marks and the backslash itself
/// become `\\`, `\t`, `\n`, `\r` or `\u{…}`. [`unescape`] is the inverse.
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

/// The text whose escaped form is `escaped`, or `None` if no text has it.
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

/// Characters that control a terminal or the text around them: the controls
/// C0, DEL and C1, line and paragraph separator, and Unicode's bidirectional and invisible formatting characters
/// (Unicode 15, general categories Cc, Zl, Zp and those of Cf that reorder or hide).
/// The zero-width joiners stay: emoji and words of some scripts need them.
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escaping_is_unambiguous() {
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
    }
}
