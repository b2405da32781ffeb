//! Writes JSON objects of texts and numbers. This program reads no JSON, so a crate would be more than it needs.

use std::fmt::Write as _;

/// A JSON object under construction.
#[derive(Debug, Default)]
pub(crate) struct Object(String);

impl Object {
    /// Adds a text, if there is one.
    pub(crate) fn text(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.name(name);
            push_text(&mut self.0, value);
        }
        self
    }

    /// Adds a number.
    pub(crate) fn number(mut self, name: &str, value: i64) -> Self {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds an object.
    pub(crate) fn object(mut self, name: &str, value: Self) -> Self {
        self.name(name);
        self.0.push_str(&value.finish());
        self
    }

    /// The object in one line.
    pub(crate) fn finish(self) -> String {
        format!("{{{}}}", self.0)
    }

    fn name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        push_text(&mut self.0, name);
        self.0.push(':');
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line() {
        let object = Object::default()
            .text("name", Some("my \"key\" \\ 🔑\n\0"))
            .text("absent", None)
            .number("n", -1)
            .object("o", Object::default().text("a", Some("")));
        let expected = "{\"name\":\"my \\\"key\\\" \\\\ 🔑\\u000a\\u0000\",\"n\":-1,\"o\":{\"a\":\"\"}}";
        assert_eq!(object.finish(), expected);
        assert_eq!(Object::default().finish(), "{}");
    }
}
