//! What is wrong, and what to do about it.

use pushkeys_cache::ReadError;
use pushkeys_cache::status::{SourceStatus, State, Status, StatusError};
use pushkeys_keys::ErrorReport;
use serde::Serialize;

use super::overview::{Overview, SourceView};
use crate::hint;
use crate::output::{count, distance};

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) source: Option<String>,
    pub(crate) what: String,
    pub(crate) hint: String,
}

const LOG: &str = "journalctl -u pushkeys-syncd";

/// Everything that is wrong, the daemon's own problems first.
pub(super) fn all(overview: &Overview) -> Vec<Problem> {
    let mut problems = of_syncd(overview);
    if overview.sources.is_empty() {
        problems.push(general("there is no source, so every key is refused", LOG));
    }
    match &overview.revocations {
        Ok(revocations) if revocations.is_empty() => {}
        Ok(revocations) => {
            let number = count(revocations.len() as u64, "key or account is", "keys and accounts are");
            let what = format!("{number} revoked on this host alone, and the key service has not agreed yet");
            problems.push(general(what, "pushkeys revoke --list"));
        }
        Err(error) => {
            let report = hint::report(error);
            problems.push(general(
                format!(
                    "what is revoked on this host cannot be read, so every key is refused: {}",
                    report.text()
                ),
                report.hint.as_deref().unwrap_or(LOG),
            ));
        }
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
            vec![general(
                ErrorReport::of(error).text(),
                "run it with sudo, and install the same version everywhere",
            )]
        }
    }
}

fn of_status(status: &Status, is_running: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_running {
        let what = format!("syncd is not running: its last report is of {}", safe(&status.written_at));
        problems.push(general(what, "systemctl start pushkeys-syncd"));
    }
    if let Some(error) = &status.config_error {
        let what = format!(
            "the configuration of {} was refused, so the one before it is in force: {}",
            safe(&error.at),
            safe(&error.what)
        );
        let check = || format!("pushkeys-syncd --config {} check", status.config.display());
        problems
            .push(general(what, error.hint.as_deref().map_or_else(check, |hint| safe(hint).into_owned())));
    }
    if let Some(first) = status.conflicts.first() {
        let conflicts = count(status.conflicts_count, "key is", "keys are");
        let what = format!(
            "{conflicts} given to different accounts by two sources, so refused; the first is {}",
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
        Err(error) => add_error(error, &mut add),
        Ok(head) if !head.is_valid_at(overview.now) => {
            let until = head.stamps.valid_until.unwrap_or(overview.now);
            let ago = distance(until, overview.now);
            add(
                format!("it was valid until {until} ({ago}), so lookups refuse every key of it"),
                LOG.to_owned(),
            );
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
        // A source without a folder has no HEAD either, which is reported above.
        Ok(None) | Err(ReadError::Missing(_)) => {}
        Err(error) => add_error(error, &mut add),
    }
    if let Some((what, hint)) = source.status.as_ref().and_then(of_state) {
        add(what, hint);
    }
    problems
}

fn add_error(error: &ReadError, add: &mut impl FnMut(String, String)) {
    let report = hint::report(error);
    add(report.text(), report.hint.unwrap_or_else(|| LOG.to_owned()));
}

fn of_state(status: &SourceStatus) -> Option<(String, String)> {
    let (what, hint) = match status.state {
        State::Unreachable => ("it has been unreachable", LOG),
        State::Refused => ("its answers have been refused", LOG),
        State::Failed => {
            ("its cache could not be written", "df -h /var/lib/pushkeys; journalctl -u pushkeys-syncd")
        }
        State::Starting | State::Syncing | State::InStep | State::Behind | State::Held => return None,
    };
    let error = status.last_error.as_ref();
    let text = error.map(|error| format!(": {}", safe(&error.what))).unwrap_or_default();
    let hint = error.and_then(|error| error.hint.as_deref()).unwrap_or(hint);
    Some((format!("{what} since {}{text}", safe(&status.since)), safe(hint).into_owned()))
}

fn general(what: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { source: None, what: what.into(), hint: hint.into() }
}

/// Text of a file that another program wrote.
fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    pushkeys_keys::escape(text)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pushkeys_cache::status::{Conflict, Problem as Said};

    use super::*;
    use crate::commands::status::fixture::{NOW, overview};

    /// Checks what is wrong after `change`, beside the same overview without it.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Overview), expected: &[(&str, &str)]) {
        let mut overview = overview();
        assert_eq!(all(&overview), []);
        change(&mut overview);
        let problems = all(&overview);
        let found: Vec<_> =
            problems.iter().map(|problem| (problem.what.as_str(), problem.hint.as_str())).collect();
        assert_eq!(found, expected);
    }

    fn status(overview: &mut Overview) -> &mut Status {
        overview.syncd.as_mut().unwrap()
    }

    #[test]
    fn a_daemon_that_does_not_run_is_wrong() {
        check(
            |overview| overview.is_syncd_running = false,
            &[(
                "syncd is not running: its last report is of 2026-11-23T16:54:59Z",
                "systemctl start pushkeys-syncd",
            )],
        );
        check(
            |overview| overview.syncd = Status::read(std::path::Path::new("/nonexistent")),
            &[("syncd has not run with this cache", "systemctl enable --now pushkeys-syncd")],
        );
    }

    #[test]
    fn a_refused_configuration_is_wrong() {
        let error =
            Said { at: "2026-11-23T16:54:00Z".into(), what: "unknown key `x\u{1b}`".into(), hint: None };
        check(
            |overview| status(overview).config_error = Some(error),
            &[(
                "the configuration of 2026-11-23T16:54:00Z was refused, so the one before it is in force: unknown key `x\\u{1b}`",
                "pushkeys-syncd --config /etc/pushkeys/syncd.toml check",
            )],
        );
    }

    #[test]
    fn a_key_of_two_accounts_is_wrong() {
        let conflict = Conflict { fingerprint: "SHA256:x".into(), claims: Vec::new() };
        check(
            |overview| {
                status(overview).conflicts_count = 2;
                status(overview).conflicts = vec![conflict];
            },
            &[(
                "2 keys are given to different accounts by two sources, so refused; the first is SHA256:x",
                "pushkeys verify names them all",
            )],
        );
    }

    #[test]
    fn a_source_past_its_validity_is_wrong() {
        let until: Timestamp = "2026-11-23T15:55:00Z".parse().unwrap();
        check(
            |overview| overview.sources[0].head.as_mut().unwrap().stamps.valid_until = Some(until),
            &[("it was valid until 2026-11-23T15:55:00Z (1 h ago), so lookups refuse every key of it", LOG)],
        );
        let mut overview = overview();
        overview.sources[0].head.as_mut().unwrap().stamps.valid_until = Some(NOW.parse().unwrap());
        assert_eq!(all(&overview).len(), 1, "validity ends at the second it names");
    }

    #[test]
    fn a_source_that_is_not_in_force_is_wrong() {
        let missing = || ReadError::Missing("/c/api/HEAD".into());
        check(|overview| overview.sources[0].head = Err(missing()), &[("nothing is in force yet", LOG)]);
        check(|overview| overview.sources.clear(), &[("there is no source, so every key is refused", LOG)]);
        let damaged =
            ReadError::Damaged { path: "/c/api/HEAD".into(), source: pushkeys_cache::Damage::Checksum };
        let hint = hint::report(&damaged).hint.unwrap();
        check(
            |overview| overview.sources[0].head = Err(damaged),
            &[("`/c/api/HEAD` is damaged: the checksum of a line does not match it", &hint)],
        );
    }

    #[test]
    fn a_snapshot_that_is_held_back_is_wrong() {
        let since = "2026-11-23T16:00:00Z".parse().unwrap();
        let held =
            pushkeys_cache::Held { since, keys_in_force: 1000, keys_offered: 101, removed: 900, added: 1 };
        check(
            |overview| overview.sources[0].held = Ok(Some(held)),
            &[(
                "since 2026-11-23T16:00:00Z a snapshot is held back that removes 900 of 1,000 keys",
                "pushkeys accept api",
            )],
        );
    }

    #[test]
    fn a_source_that_gives_nothing_of_use_is_wrong() {
        let error =
            Said { at: "2026-11-23T16:54:00Z".into(), what: "the answer is cut short".into(), hint: None };
        check(
            |overview| {
                let status = overview.sources[0].status.as_mut().unwrap();
                status.state = State::Refused;
                status.last_error = Some(error);
            },
            &[("its answers have been refused since 2026-11-23T16:00:00Z: the answer is cut short", LOG)],
        );
        for (state, is_wrong) in [
            (State::Starting, false),
            (State::Syncing, false),
            (State::InStep, false),
            (State::Behind, false),
            (State::Unreachable, true),
            (State::Refused, true),
            (State::Failed, true),
        ] {
            let mut overview = overview();
            overview.sources[0].status.as_mut().unwrap().state = state;
            assert_eq!(!all(&overview).is_empty(), is_wrong, "{state:?}");
        }
    }
}
