//! Percent-encoding (RFC 3986, section 2.1): encoded as OAuth asks, and decoded exactly once.

use std::fmt::Write as _;

/// The text that `encoded` stands for; `None` where an escape is cut, is not hexadecimal, or the bytes
/// are not UTF-8. A `+` stays a `+`: this is no form.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// `text` with everything encoded but RFC 3986's unreserved characters (RFC 5849, section 3.6).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// RFC 3986, section 2.3.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
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
