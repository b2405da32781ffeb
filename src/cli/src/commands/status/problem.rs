//! What is wrong, and what to do about it.

use std::io;

use jiff::{SignedDuration, Timestamp};
use pushkeys_cache::ReadError;
use pushkeys_cache::status::{SourceStatus, State, Status, StatusError};
use pushkeys_keys::{ErrorReport, shell_word};
use serde::Serialize;

use super::outside::{FailedLookups, LOOKUPS_PERIOD, Process, Room};
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
const NAME_LOG: &str = "run it with sudo, and name the log with --log FILE";
/// With less room nothing of use can be written: a shard and the files beside it are smaller than that.
const BYTES_MIN: u64 = 1024 * 1024;
const FILES_MIN: u64 = 16;
const BYTES_PER_KIB: u64 = 1024;
/// What a busy machine, or a large snapshot, may delay a refresh by, beyond twice its interval.
const REFRESH_GRACE: SignedDuration = SignedDuration::from_mins(1);
/// Changes are on their way for a moment; after this time they do not arrive.
const BEHIND_MAX: SignedDuration = SignedDuration::from_mins(1);

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
    problems.extend(overview.room.as_ref().ok().and_then(|room| of_room(room, overview)));
    if let Some(Ok(Some(failed))) = &overview.lookups {
        problems.push(of_lookups(failed));
    }
    problems.extend(overview.strangers.iter().map(|name| {
        let path = overview.folder.join(name.as_str());
        let what =
            format!("`{}` is no source of syncd's configuration, and no lookup reads it", path.display());
        general(what, format!("rm -r {}", shell_word(&path.to_string_lossy())))
    }));
    problems.extend(overview.sources.iter().flat_map(|source| of_source(source, overview)));
    problems
}

/// What could not be asked, so that it is not known whether it is right.
pub(super) fn unknown(overview: &Overview) -> Vec<ErrorReport> {
    let failed = |what: String, error: &io::Error| {
        let hint = if error.kind() == io::ErrorKind::PermissionDenied { "run it with sudo" } else { "dmesg" };
        ErrorReport::hinted(&format!("{what}: {error}"), hint)
    };
    let mut unknown = Vec::new();
    if let Err(error) = &overview.room {
        unknown.push(failed("how much room the disk has".to_owned(), error));
    }
    // One source's lock is like another's.
    let unwritten = overview.sources.iter().filter(|source| source.head.is_ok());
    let mut errors = unwritten.filter_map(|source| Some((&source.name, source.written.as_ref().err()?)));
    if let Some((name, error)) = errors.find(|(_, error)| error.kind() != io::ErrorKind::NotFound) {
        unknown.push(failed(format!("whether syncd writes source `{name}`"), error));
    }
    if let Some(Err(report)) = &overview.lookups {
        let what = format!("what lookups answered: {}", report.text());
        unknown.push(ErrorReport::hinted(&what, report.hint.as_deref().unwrap_or(NAME_LOG)));
    }
    unknown
}

fn of_room(room: &Room, overview: &Overview) -> Option<Problem> {
    let Room { bytes, files } = *room;
    if bytes >= BYTES_MIN && files.is_none_or(|files| files >= FILES_MIN) {
        return None;
    }
    let folder = overview.folder.display();
    let files = files.map(|files| format!(" and {}", count(files, "file", "files"))).unwrap_or_default();
    let what = format!(
        "the disk of `{folder}` is full: there is room for {}{files}, so changes, above all removals, do not reach this host",
        count(bytes / BYTES_PER_KIB, "KiB", "KiB")
    );
    let word = shell_word(&overview.folder.to_string_lossy());
    Some(general(what, format!("make room: df -h {word}; df -i {word}")))
}

fn of_lookups(failed: &FailedLookups) -> Problem {
    let FailedLookups { count: number, last_at, last } = failed;
    let what = format!(
        "{} could not answer in the last {} min; at {last_at} {last}",
        count(*number, "lookup", "lookups"),
        LOOKUPS_PERIOD.as_mins()
    );
    general(what, "sudo pushkeys doctor; journalctl -t pushkeys-lookup")
}

fn of_syncd(overview: &Overview) -> Vec<Problem> {
    match &overview.syncd {
        Ok(status) => of_status(status, overview.process),
        Err(StatusError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
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

fn of_status(status: &Status, process: Process) -> Vec<Problem> {
    let mut problems = Vec::new();
    match process {
        Process::Gone => {
            let what = format!("syncd is not running: its last report is of {}", safe(&status.written_at));
            problems.push(general(what, "systemctl start pushkeys-syncd"));
        }
        Process::Stopped => {
            let pid = status.pid;
            let what =
                format!("syncd (process {pid}) is stopped by a signal, so no change reaches this host");
            problems.push(general(what, format!("kill -CONT {pid}, or systemctl restart pushkeys-syncd")));
        }
        // Only for a moment, unless HEAD is not refreshed, which is told of its source.
        Process::WaitsForDisk | Process::Runs => {}
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
    if let Some(error) = &status.watch_error {
        let what = format!("changes of files are only noticed after seconds: {}", safe(&error.what));
        problems.push(general(what, safe(error.hint.as_deref().unwrap_or(LOG))));
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
                "since {} the removal of {} of {} is held back",
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
    let Some(status) = &source.status else { return problems };
    if let Some((what, hint)) = of_state(status) {
        add(what, hint);
    } else if is_abandoned(source, overview) {
        let what = "syncd runs and does not write it, so no change reaches it";
        add(what.to_owned(), format!("{LOG}; systemctl restart pushkeys-syncd"));
    }
    if let Some((what, hint)) = overdue(source, status, overview) {
        add(what, hint);
    }
    if let Some(since) = behind_since(status, overview.now) {
        let changes = source.lag().map(|lag| format!(" by {}", count(lag, "change", "changes")));
        let changes = changes.unwrap_or_default();
        add(format!("it has been behind its source{changes} since {since}"), LOG.to_owned());
    }
    if status.skipped.count > 0 {
        let what = count(status.skipped.count, "entry is left out", "entries are left out");
        let last = status.skipped.recent.last();
        let last = last.map(|last| format!("; the last one: {}", safe(last))).unwrap_or_default();
        add(
            format!("{what}, so what they register opens nothing{last}"),
            "fix them at the source".to_owned(),
        );
    }
    problems
}

/// Whether a daemon that runs has left the source without a writer.
fn is_abandoned(source: &SourceView, overview: &Overview) -> bool {
    let is_written = match &source.written {
        Ok(is_written) => *is_written,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    overview.process != Process::Gone && source.head.is_ok() && !is_written
}

/// HEAD is not refreshed, although syncd says that all is well: it said so before it hung.
fn overdue(source: &SourceView, status: &SourceStatus, overview: &Overview) -> Option<(String, String)> {
    let interval = SignedDuration::from_secs(status.refresh_interval_s?.try_into().ok()?);
    let stamps = source.head.as_ref().ok()?.stamps;
    let is_overdue = overview.now.duration_since(stamps.synced_at) > interval * 2 + REFRESH_GRACE;
    let cause = match overview.process {
        // Which is told.
        Process::Gone | Process::Stopped => return None,
        Process::WaitsForDisk => "syncd waits for the disk",
        Process::Runs => "syncd hangs",
    };
    (is_overdue && status.state == State::InStep).then(|| {
        let what = format!(
            "it was in sync at {} ({}), and syncd should have looked after {} s: {cause}, so no change reaches this host",
            stamps.synced_at,
            distance(stamps.synced_at, overview.now),
            interval.as_secs()
        );
        (what, format!("dmesg; {LOG}; systemctl restart pushkeys-syncd"))
    })
}

/// Since when the source has been known to have changes that do not arrive, if that is long.
fn behind_since(status: &SourceStatus, now: Timestamp) -> Option<Timestamp> {
    let since: Timestamp = status.since.parse().ok()?;
    (status.state == State::Behind && now.duration_since(since) > BEHIND_MAX).then_some(since)
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
            |overview| overview.process = Process::Gone,
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
    fn a_daemon_that_does_nothing_is_wrong() {
        check(
            |overview| overview.process = Process::Stopped,
            &[(
                "syncd (process 7) is stopped by a signal, so no change reaches this host",
                "kill -CONT 7, or systemctl restart pushkeys-syncd",
            )],
        );
        let abandoned = (
            "syncd runs and does not write it, so no change reaches it",
            "journalctl -u pushkeys-syncd; systemctl restart pushkeys-syncd",
        );
        check(|overview| overview.sources[0].written = Ok(false), &[abandoned]);
        check(|overview| overview.sources[0].written = Err(io::ErrorKind::NotFound.into()), &[abandoned]);
    }

    #[test]
    fn a_full_disk_is_wrong() {
        let check = |bytes, files, expected: &[(&str, &str)]| {
            check(|overview| overview.room = Ok(Room { bytes, files }), expected);
        };
        let hint = "make room: df -h /var/lib/pushkeys/cache; df -i /var/lib/pushkeys/cache";
        let begin = "the disk of `/var/lib/pushkeys/cache` is full: there is room for";
        let end = "so changes, above all removals, do not reach this host";
        check(BYTES_MIN, Some(FILES_MIN), &[]);
        check(BYTES_MIN, None, &[]);
        check(BYTES_MIN - 1, None, &[(&format!("{begin} 1,023 KiB, {end}"), hint)]);
        check(BYTES_MIN, Some(0), &[(&format!("{begin} 1,024 KiB and 0 files, {end}"), hint)]);
    }

    #[test]
    fn lookups_that_could_not_answer_are_wrong() {
        let failed =
            FailedLookups { count: 3, last_at: "Nov 23 16:54:59".into(), last: "the helper hid".into() };
        check(
            |overview| overview.lookups = Some(Ok(Some(failed))),
            &[(
                "3 lookups could not answer in the last 5 min; at Nov 23 16:54:59 the helper hid",
                "sudo pushkeys doctor; journalctl -t pushkeys-lookup",
            )],
        );
    }

    #[test]
    fn what_could_not_be_asked_is_not_right() {
        let mut overview = overview();
        assert_eq!(unknown(&overview), []);
        overview.room = Err(io::ErrorKind::PermissionDenied.into());
        overview.sources[0].written = Err(io::ErrorKind::PermissionDenied.into());
        overview.lookups = Some(Err(ErrorReport::hinted("cannot read the log", "run it with sudo")));
        assert_eq!(all(&overview), []);
        let unknown = unknown(&overview);
        let found: Vec<_> = unknown.iter().map(|report| (report.text(), report.hint.as_deref())).collect();
        let expected = [
            "how much room the disk has: permission denied",
            "whether syncd writes source `api`: permission denied",
            "what lookups answered: cannot read the log",
        ];
        assert_eq!(found, expected.map(|what| (what.to_owned(), Some("run it with sudo"))));
    }

    #[test]
    fn a_head_that_is_not_refreshed_is_wrong() {
        let refreshed = |ago: i64| {
            move |overview: &mut Overview| {
                let source = &mut overview.sources[0];
                source.head.as_mut().unwrap().stamps.synced_at =
                    overview.now - SignedDuration::from_secs(ago);
            }
        };
        let hint = "dmesg; journalctl -u pushkeys-syncd; systemctl restart pushkeys-syncd";
        let what = "it was in sync at 2026-11-23T16:51:19Z (3 min ago), and syncd should have looked after 80 s: syncd hangs, so no \
                    change reaches this host";
        check(refreshed(220), &[]);
        check(refreshed(221), &[(what, hint)]);
        let of_process = |process, word: &str| {
            let mut overview = overview();
            overview.process = process;
            refreshed(221)(&mut overview);
            let problems = all(&overview);
            assert!(problems.len() == 1 && problems[0].what.contains(word), "{problems:?}");
        };
        of_process(Process::WaitsForDisk, "syncd waits for the disk");
        of_process(Process::Stopped, "stopped by a signal");
        of_process(Process::Gone, "is not running");
    }

    #[test]
    fn files_that_are_not_watched_are_wrong() {
        let error = Said {
            at: "2026-11-23T16:54:00Z".into(),
            what: "`/etc/pushkeys` cannot be watched: no space left".into(),
            hint: Some("sysctl fs.inotify.max_user_watches=1048576".into()),
        };
        check(
            |overview| status(overview).watch_error = Some(error),
            &[(
                "changes of files are only noticed after seconds: `/etc/pushkeys` cannot be watched: no space left",
                "sysctl fs.inotify.max_user_watches=1048576",
            )],
        );
    }

    #[test]
    fn a_source_that_stays_behind_is_wrong() {
        let behind = |since: &'static str| {
            move |overview: &mut Overview| {
                let status = overview.sources[0].status.as_mut().unwrap();
                (status.state, status.since) = (State::Behind, since.to_owned());
            }
        };
        check(behind("2026-11-23T16:54:00Z"), &[]);
        check(
            behind("2026-11-23T16:53:59Z"),
            &[("it has been behind its source by 2 changes since 2026-11-23T16:53:59Z", LOG)],
        );
    }

    #[test]
    fn entries_that_are_left_out_are_wrong() {
        check(
            |overview| {
                let skipped = &mut overview.sources[0].status.as_mut().unwrap().skipped;
                (skipped.count, skipped.recent) = (2, vec!["key_9: a private key\u{1b}".to_owned()]);
            },
            &[(
                "2 entries are left out, so what they register opens nothing; the last one: key_9: a private key\\u{1b}",
                "fix them at the source",
            )],
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
            |overview| overview.strangers.push("api-old".parse().unwrap()),
            &[(
                "`/var/lib/pushkeys/cache/api-old` is no source of syncd's configuration, and no lookup reads it",
                "rm -r /var/lib/pushkeys/cache/api-old",
            )],
        );
        check(
            |overview| overview.sources[0].held = Ok(Some(held)),
            &[(
                "since 2026-11-23T16:00:00Z the removal of 900 of 1,000 keys is held back",
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
