//! The texts of the console, in both languages side by side. [`fill`] replaces names in braces, and
//! [`super::text::Sentence`] marks up code between backticks.

use crate::language::Language;

macro_rules! messages {
    ($($name:ident: $english:literal, $french:literal;)*) => {
        /// The texts of one language. A message without both languages does not compile.
        pub(in crate::console) struct Messages {
            $(pub(in crate::console) $name: &'static str,)*
        }

        pub(super) const ENGLISH: Messages = Messages { $($name: $english,)* };
        pub(super) const FRENCH: Messages = Messages { $($name: $french,)* };

        #[cfg(test)]
        pub(super) const TABLE: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $french),)*];
    };
}

mod texts;

pub(super) use self::texts::Messages;
#[cfg(test)]
use self::texts::TABLE;
use self::texts::{ENGLISH, FRENCH};

impl Messages {
    /// The texts of `language`.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::French => &FRENCH,
        }
    }
}

/// `message` with each `{name}` of `values` replaced once.
pub(super) fn fill(message: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else { return filled };
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            filled.push_str(value);
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders(message: &str) -> Vec<&str> {
        let mut names: Vec<&str> =
            message.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_languages_have_every_message_with_the_same_placeholders_and_code() {
        for (name, english, french) in TABLE {
            assert!(!english.trim().is_empty() && !french.trim().is_empty(), "{name}");
            assert_eq!(placeholders(english), placeholders(french), "{name}");
            let ticks = |text: &str| text.matches('`').count();
            assert_eq!(ticks(english), ticks(french), "{name}");
            assert_eq!(ticks(english) % 2, 0, "{name}");
        }
    }

    #[test]
    fn french_texts_have_no_break_spaces_and_curved_apostrophes() {
        for (name, _, french) in TABLE {
            for space in [" ;", " :", " ?", " !", " »", "« "] {
                assert!(!french.contains(space), "{name} needs a no-break space in `{space}`");
            }
            assert!(!french.contains('\''), "{name} has a straight apostrophe");
        }
    }

    #[test]
    fn a_value_is_not_read_as_a_placeholder() {
        let values = [("name", "{host}"), ("host", "h")];
        assert_eq!(fill("{name} on {host}", &values), "{host} on h");
        assert_eq!(fill("nothing", &values), "nothing");
        assert_eq!(fill("open {name", &values), "open ");
    }
}
