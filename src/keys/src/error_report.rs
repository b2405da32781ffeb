//! An error as programs print it: what failed, what caused it, and how to fix it.
//!
//! The advice is a link of its own in the chain of sources, a [`Hint`], so no wrapper can lose it. It is printed in one
//! place, here, after the cause.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::iter::successors;

use crate::escape::escape;

/// How to fix an error: a command to run, or a setting to change. It stands in the chain of sources between the error and
/// its cause, if there is one.
///
/// ```
/// # use pushkeys_keys::{Hint, ErrorReport};
/// #[derive(Debug, thiserror::Error)]
/// #[error("`{path}` is writable by group or others")]
/// struct Writable { path: String, #[source] hint: Hint }
///
/// let error = Writable { path: "/x".to_owned(), hint: Hint::new("chmod go-w /x") };
/// assert_eq!(ErrorReport::of(&error).to_string(), "`/x` is writable by group or others; hint: chmod go-w /x");
/// ```
// Boxed to keep every `Result` with such an error small.
#[derive(Debug)]
pub struct Hint(Box<Inner>);

#[derive(Debug)]
struct Inner {
    text: Cow<'static, str>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Hint {
    /// A hint for an error without a cause.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { text: text.into(), cause: None }))
    }

    /// A hint for an error that was caused by `cause`.
    #[must_use]
    pub fn because(
        text: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { text: text.into(), cause: Some(cause.into()) }))
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.text)
    }
}

impl Error for Hint {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// An error that consists of a message and a hint, for the edge of a program.
#[derive(Debug)]
pub struct Hinted {
    message: Cow<'static, str>,
    hint: Hint,
}

impl Hinted {
    /// An error with `message`, which says what failed, and `hint`, which says how to fix it.
    #[must_use]
    pub fn new(message: impl Into<Cow<'static, str>>, hint: impl Into<Hint>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.hint)
    }
}

/// The printable form of an error. All of it is safe to print: control characters are escaped.
///
/// As [`fmt::Display`] it is one line for a log: `WHAT: CAUSE: CAUSE; hint: DO THIS`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ErrorReport {
    /// What failed.
    pub what: String,
    /// What caused it, the nearest cause first. A cause that the text before it ends with is omitted.
    pub causes: Vec<String>,
    /// How to fix it. Of several hints it is the outermost, whose error knows most about what was tried.
    pub hint: Option<String>,
}

impl ErrorReport {
    /// The report of `error`, its causes and its hint.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut report = Self { what: String::new(), causes: Vec::new(), hint: None };
        let mut text = String::new();
        for link in successors(Some(error), |&link| link.source()) {
            if let Some(hint) = link.downcast_ref::<Hint>() {
                report.hint = report.hint.or_else(|| Some(escape(&hint.0.text).into_owned()));
                continue;
            }
            let message = link.to_string();
            let message = escape(&message);
            if text.is_empty() {
                report.what = message.clone().into_owned();
                text.push_str(&message);
            } else if !text.ends_with(&*message) {
                // Some libraries repeat the cause at the end of an error's text.
                report.causes.push(message.clone().into_owned());
                text.push_str(": ");
                text.push_str(&message);
            }
        }
        report
    }

    /// A report of `what`, without cause and hint.
    #[must_use]
    pub fn of_message(what: &str) -> Self {
        Self { what: escape(what).into_owned(), causes: Vec::new(), hint: None }
    }

    /// A report of `what`, which is no error of a function, with a hint.
    #[must_use]
    pub fn hinted(what: &str, hint: &str) -> Self {
        Self { hint: Some(escape(hint).into_owned()), ..Self::of_message(what) }
    }

    /// The same report with `context` before it, such as the name of a source.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Self {
        Self { what: format!("{}: {}", escape(&context.to_string()), self.what), ..self }
    }

    /// The error and its causes in one line, for callers that show the hint separately.
    #[must_use]
    pub fn text(&self) -> String {
        self.causes.iter().fold(self.what.clone(), |text, cause| format!("{text}: {cause}"))
    }

    /// The error and its causes in one line, and the hint in the next, for a terminal. The last line does not end with
    /// a newline.
    #[must_use]
    pub fn lines(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        self.text() + &hint
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(out, "; hint: {hint}"))
    }
}

/// `text` quoted as one word for a shell, for the commands in hints.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+=@%,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{what}")]
    struct Link {
        what: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    /// Checks the report of an error whose chain is `links`, each with a hint or without.
    #[track_caller]
    fn check(links: &[(&'static str, Option<&'static str>)], in_log: &str, on_terminal: &str) {
        let error = links.iter().rev().fold(None, |cause: Option<Link>, &(what, hint)| {
            let source = match (hint, cause) {
                (Some(hint), Some(cause)) => Some(Hint::because(hint, cause).into()),
                (Some(hint), None) => Some(Hint::new(hint).into()),
                (None, cause) => cause.map(Into::into),
            };
            Some(Link { what, source })
        });
        let report = ErrorReport::of(&error.unwrap());
        assert_eq!((report.to_string().as_str(), report.lines().as_str()), (in_log, on_terminal));
    }

    #[test]
    fn causes_come_after_what_failed() {
        let text = "cannot read `/x`: denied";
        check(&[("cannot read `/x`", None), ("denied", None)], text, text);
    }

    #[test]
    fn a_cause_that_was_just_named_is_left_out() {
        check(
            &[("cannot read: denied", None), ("denied", None)],
            "cannot read: denied",
            "cannot read: denied",
        );
    }

    #[test]
    fn the_outermost_hint_is_printed_last() {
        let refused = ("refused", Some("ask"));
        check(&[refused], "refused; hint: ask", "refused\nhint: ask");
        check(
            &[refused, ("status 401", Some("log in"))],
            "refused: status 401; hint: ask",
            "refused: status 401\nhint: ask",
        );
        let inner = [("cannot sync", None), ("status 401", Some("log in")), ("body", None)];
        check(
            &inner,
            "cannot sync: status 401: body; hint: log in",
            "cannot sync: status 401: body\nhint: log in",
        );
    }

    #[test]
    fn a_report_is_escaped() {
        check(
            &[("a\nb", Some("c\nd")), ("\u{1b}[2J", None)],
            "a\\nb: \\u{1b}[2J; hint: c\\nd",
            "a\\nb: \\u{1b}[2J\nhint: c\\nd",
        );
    }

    #[test]
    fn a_hinted_message_is_an_error() {
        let report = ErrorReport::of(&Hinted::new(
            "no such host",
            Hint::because("list them", Hinted::new("gone", Hint::new("x"))),
        ));
        assert_eq!(report.text(), "no such host: gone");
        assert_eq!(report.hint.as_deref(), Some("list them"));
    }

    #[test]
    fn a_shell_word_stays_one_word() {
        assert_eq!(shell_word("/etc/ssh/sshd_config"), "/etc/ssh/sshd_config");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(shell_word(""), "''");
    }
}
