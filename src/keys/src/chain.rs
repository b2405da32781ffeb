//! An error in one line, for a log or a terminal.

use std::error::Error;
use std::iter::successors;

use crate::escape;

/// What is between a message and the command that cures it.
const HINT: &str = "\nhint: ";

/// `error` and what caused it, each after a colon unless it was just said, then the first cure that one of them names,
/// in one line that is safe to print.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cure) = (String::new(), None);
    for error in successors(Some(error), |&error| error.source()) {
        let message = error.to_string();
        let (message, hint) = message.split_once(HINT).unwrap_or((&message, ""));
        let message = escape(message);
        // Some libraries end an error with what its cause says again.
        if !text.ends_with(&*message) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&message);
        }
        cure = cure.or_else(|| (!hint.is_empty()).then(|| escape(hint).into_owned()));
    }
    if let Some(cure) = cure {
        text.push_str("; hint: ");
        text.push_str(&cure);
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{said}")]
    struct Said {
        said: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn an_error_is_one_line_with_its_causes_and_the_cure_at_the_end() {
        let check = |texts: &[&'static str], expected: &str| {
            let nest = |source: Option<Box<Said>>, said: &&'static str| Some(Box::new(Said { said, source }));
            let error = texts.iter().rev().fold(None, nest).unwrap();
            assert_eq!(chain(&*error), expected);
        };
        check(&["cannot read `/x`", "denied"], "cannot read `/x`: denied");
        check(&["cannot read: denied", "denied"], "cannot read: denied");
        check(&["a\nb", "\u{1b}[2J"], "a\\nb: \\u{1b}[2J");
        check(&["refused\nhint: ask", "status 401\nhint: log in"], "refused: status 401; hint: ask");
    }
}
