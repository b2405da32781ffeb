//! What `pushkeys doctor` reports.

use std::error::Error;

use pushkeys_keys::ErrorReport;
use serde::Serialize;

use crate::hint;

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

    /// `error`, and what to do about it.
    pub(super) fn of_error(
        check: &'static str,
        error: &(dyn Error + 'static),
        why: impl Into<String>,
    ) -> Self {
        Self::of_report(check, hint::report(error), why)
    }

    /// The same of an error that was told before.
    pub(super) fn of_report(check: &'static str, report: ErrorReport, why: impl Into<String>) -> Self {
        let what = report.text();
        Self { cure: report.hint, ..Self::error(check, what, why) }
    }

    /// The same with the command that fixes it.
    pub(super) fn cured_by(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}
