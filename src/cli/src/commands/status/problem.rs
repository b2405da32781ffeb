//! What is wrong, and what to do about it.

use cache::ReadError;
use cache::status::{SourceStatus, State, Status, StatusError};
use serde::Serialize;

use super::{Overview, SourceView};
use crate::commands::chain;
use crate::hint;
use crate::output::{count, distance};

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub(super) source: Option<String>,
    pub(super) what: String,
    pub(super) hint: String,
}

const LOG: &str = "journalctl -u pushkeys-syncd";

/// All that is wrong, the daemon's own first.
pub(super) fn all(overview: &Overview) -> Vec<Problem> {
    let mut problems = of_syncd(overview);
    if overview.sources.is_empty() {
        problems.push(general("there is no source, so every key is refused", LOG));
    }
    problems.extend(overview.sources.iter().flat_map(|source| of_source(source, overview)));
    problems
}

fn of_syncd(overview: &Overview) -> Vec<Problem> {
    match &overview.syncd {
        Ok(status) => of_status(status, overview.is_syncd_running),
        Err(StatusError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            vec![general("syncd has not run with this cache", "systemctl enable --now pushkeys-syncd")]
        }
        Err(error) => {
            vec![general(chain(error), "run it with sudo, and install the same version everywhere")]
        }
    }
}

fn of_status(status: &Status, is_running: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_running {
        let what = format!("syncd is not running: its last word is of {}", safe(&status.written_at));
        problems.push(general(what, "systemctl start pushkeys-syncd"));
    }
    if let Some(error) = &status.config_error {
        let what = format!(
            "the configuration of {} is refused, and the one before it in force: {}",
            safe(&error.at),
            safe(&error.what)
        );
        problems.push(general(what, format!("pushkeys-syncd --config {} --check", status.config.display())));
    }
    if let Some(first) = status.conflicts.first() {
        let conflicts = count(status.conflicts_count, "key is", "keys are");
        let what = format!(
            "{conflicts} given to different accounts by two sources, and refused; the first is {}",
            safe(&first.fingerprint)
        );
        problems.push(general(what, "pushkeys verify names them all"));
    }
    problems
}

fn of_source(source: &SourceView, overview: &Overview) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |what: String, hint: String| {
        problems.push(Problem { source: Some(source.name.to_string()), what, hint });
    };
    match &source.head {
        Err(ReadError::Missing(_)) => add("nothing is in force yet".to_owned(), LOG.to_owned()),
        Err(error) => add(chain(error), hint::of_read(error).to_owned()),
        Ok(head) if !head.is_valid_at(overview.now) => {
            let until = head.stamps.valid_until.unwrap_or(overview.now);
            let ago = distance(until, overview.now);
            add(format!("it was good until {until} ({ago}), so look-ups are refused"), LOG.to_owned());
        }
        Ok(_) => {}
    }
    match &source.held {
        Ok(Some(held)) => add(
            format!(
                "since {} a snapshot is held back that removes {} of {}",
                held.since,
                held.removed,
                count(held.keys_in_force, "key", "keys")
            ),
            format!("pushkeys accept {}", source.name),
        ),
        // A source without a folder has no HEAD either, which was told.
        Ok(None) | Err(ReadError::Missing(_)) => {}
        Err(error) => add(chain(error), hint::of_read(error).to_owned()),
    }
    if let Some((what, hint)) = source.status.as_ref().and_then(of_state) {
        add(what, hint);
    }
    problems
}

fn of_state(status: &SourceStatus) -> Option<(String, String)> {
    let (what, hint) = match status.state {
        State::Unreachable => ("it cannot be reached", LOG),
        State::Refused => ("its answer is of no use, and what was in force before still is", LOG),
        State::Failed => {
            ("the cache cannot be written", "df -h /var/lib/pushkeys; journalctl -u pushkeys-syncd")
        }
        State::Starting | State::Syncing | State::InStep | State::Behind | State::Held => return None,
    };
    let error =
        status.last_error.as_ref().map(|error| format!(": {}", safe(&error.what))).unwrap_or_default();
    Some((format!("{what} since {}{error}", safe(&status.since)), hint.to_owned()))
}

fn general(what: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { source: None, what: what.into(), hint: hint.into() }
}

/// Text of a file that another program wrote.
fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    keys::escape(text)
}
