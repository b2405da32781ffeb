//! What `pushkeys doctor` reports.

use serde::Serialize;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(in crate::commands) severity: Severity,
    /// A name for programs, which stays the same over releases.
    pub(super) check: &'static str,
    pub(in crate::commands) what: String,
    pub(in crate::commands) why: String,
    /// A shell command that fixes it; absent if the operator has to decide.
    pub(super) cure: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works now, but may fail.
    Warning,
    /// Logins fail, or let in users they should not.
    Error,
}

impl Finding {
    pub(super) fn error(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Error, check, what: what.into(), why: why.into(), cure: None }
    }

    pub(super) fn warning(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, what, why) }
    }

    pub(super) fn note(check: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(check, what, why) }
    }

    /// The same with the command that fixes it.
    pub(super) fn cured_by(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}

/// `text` quoted as one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+=@%,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("/etc/ssh/sshd_config"), "/etc/ssh/sshd_config");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(quoted(""), "''");
    }
}
