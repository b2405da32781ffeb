//! Percent-encoding (RFC 3986, section 2.1): encoded as OAuth asks, and decoded exactly once.
//!
//! The library leaves what is not an escape as it is. Here it is refused, so that a name has one meaning for every decoder.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but RFC 3986's unreserved characters (section 2.3), by RFC 5849, section 3.6.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The text that `encoded` stands for; `None` where an escape is cut, is not hexadecimal, or the bytes
/// are not UTF-8. A `+` stays a `+`: this is no form.
#[must_use]
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !encoded.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(encoded).decode_utf8().ok().map(Into::into)
}

/// `text` with everything encoded except unreserved characters.
#[must_use]
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Whether [`encode`] leaves `byte` as it is.
#[must_use]
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_seen_on_the_wire_are_decoded_once() {
        let check = |encoded: &str, expected: &str| assert_eq!(decode(encoded).as_deref(), Some(expected));
        check("my%20key%2F%C3%A9%2B1", "my key/é+1");
        check("a%3Fb%23c", "a?b#c");
        check("%252e%252e", "%2e%2e");
        check("it's(*)", "it's(*)");
        check("%F0%9F%94%91", "🔑");
        check("x%3By", "x;y");
        check("a+b", "a+b");
        check("", "");
    }

    #[test]
    fn all_but_unreserved_characters_are_encoded_in_capitals() {
        assert_eq!(encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(encode("a b&c=d/é+%"), "a%20b%26c%3Dd%2F%C3%A9%2B%25");
        assert_eq!(decode(&encode("🔑 a+b")).as_deref(), Some("🔑 a+b"));
    }

    #[test]
    fn what_is_not_an_escape_is_refused() {
        for encoded in ["%", "%4", "%zz", "%+1", "%ff", "a%C3", "%é"] {
            assert_eq!(decode(encoded), None, "{encoded}");
        }
    }
}
