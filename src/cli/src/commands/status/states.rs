//! A host in each of its bad states, and what `pushkeys status` and `pushkeys doctor` print there.

use std::fmt::Write as _;
use std::io;

use jiff::SignedDuration;
use pushkeys_cache::Held;
use pushkeys_cache::status::{Conflict, Problem as Said, State, Status};
use pushkeys_keys::ErrorReport;

use super::fixture::overview;
use super::outside::{FailedLookups, Process, Room};
use super::overview::Overview;
use super::{problem, show};
use crate::commands::doctor::text_of_problems;

fn said(what: &str) -> Said {
    Said { at: "2026-11-23T16:54:00Z".into(), what: what.into(), hint: None }
}

fn in_state(state: State, what: &str) -> impl FnOnce(&mut Overview) {
    move |overview| {
        let status = overview.sources[0].status.as_mut().unwrap();
        (status.state, status.last_error) = (state, Some(said(what)));
    }
}

/// `name`, what the tools print on a host that `change` makes of a good one, and their exit status.
fn section(text: &mut String, name: &str, change: impl FnOnce(&mut Overview)) {
    let mut overview = overview();
    change(&mut overview);
    let problems = problem::all(&overview);
    let mut printed = Vec::new();
    show::write_as_text(&mut printed, &overview, &problems).unwrap();
    let status = String::from_utf8(printed).unwrap();
    // The table of sources is another test's.
    let (_, status) = status.split_once("\n\n").unwrap_or(("", &status));
    let doctor = text_of_problems(problems);
    let exit = i32::from(doctor.1);
    let texts = [
        format!("$ pushkeys status   # exits with {exit}\n{status}"),
        format!("$ pushkeys doctor\n{}", doctor.0),
    ];
    let texts = texts.map(|text| anstream::adapter::strip_str(&text).to_string());
    writeln!(text, "## {name}\n\n{}", texts.join("\n")).unwrap();
}

#[test]
fn every_bad_state_of_a_host_is_told() {
    let mut text = String::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Overview)| section(&mut text, name, change);
    add("nothing is wrong", &|_| {});
    add("the daemon has never run", &|overview| {
        overview.syncd = Status::read(std::path::Path::new("/nonexistent"));
    });
    add("the daemon is not running", &|overview| overview.process = Process::Gone);
    add("the daemon is stopped by a signal", &|overview| overview.process = Process::Stopped);
    add("the daemon hangs", &|overview| {
        let head = overview.sources[0].head.as_mut().unwrap();
        head.stamps.synced_at = overview.now - SignedDuration::from_mins(10);
    });
    add("the daemon waits for a disk", &|overview| {
        let head = overview.sources[0].head.as_mut().unwrap();
        head.stamps.synced_at = overview.now - SignedDuration::from_mins(10);
        overview.process = Process::WaitsForDisk;
    });
    add("the daemon has lost its writer", &|overview| overview.sources[0].written = Ok(false));
    add("the disk is full", &|overview| overview.room = Ok(Room { bytes: 0, files: Some(1000) }));
    add("the disk has no inodes left", &|overview| {
        overview.room = Ok(Room { bytes: 1 << 30, files: Some(0) });
    });
    add("the host is cut off", &|overview| {
        in_state(State::Unreachable, "cannot connect to `https://keys.example.com`: timed out")(overview);
    });
    add("the source gives nothing of use", &|overview| {
        in_state(State::Refused, "the snapshot is refused: without a trailer line")(overview);
    });
    add("the source stays behind", &|overview| {
        overview.sources[0].status.as_mut().unwrap().state = State::Behind;
    });
    add("the source is past its validity", &|overview| {
        let head = overview.sources[0].head.as_mut().unwrap();
        head.stamps.valid_until = Some("2026-11-23T15:55:00Z".parse().unwrap());
    });
    add("removals are held back", &|overview| {
        let since = "2026-11-23T16:00:00Z".parse().unwrap();
        let held = Held { since, keys_in_force: 1000, keys_offered: 101, removed: 900, added: 1 };
        overview.sources[0].held = Ok(Some(held));
    });
    add("entries are left out", &|overview| {
        let skipped = &mut overview.sources[0].status.as_mut().unwrap().skipped;
        skipped.count = 2;
        skipped.recent = vec!["`SHA256:x`: the key is refused".into(), "`SHA256:y`: a private key".into()];
    });
    add("watches are exhausted", &|overview| {
        let hint = Some("sysctl fs.inotify.max_user_watches=1048576".to_owned());
        let error = Said { hint, ..said("`/etc/pushkeys` cannot be watched: OS file watch limit reached") };
        overview.syncd.as_mut().unwrap().watch_error = Some(error);
    });
    add("lookups do not answer", &|overview| {
        let failed = FailedLookups {
            count: 3,
            last_at: "2026-11-23T16:54:59+00:00".into(),
            last: "the helper could not answer: `/var/lib/pushkeys/cache/api/g7/0f2` is damaged".into(),
        };
        overview.lookups = Some(Ok(Some(failed)));
    });
    add("the newest configuration is refused", &|overview| {
        overview.syncd.as_mut().unwrap().config_error = Some(said("line 3: unknown field `sources`"));
    });
    add("two sources claim a key", &|overview| {
        let status = overview.syncd.as_mut().unwrap();
        status.conflicts_count = 1;
        status.conflicts = vec![Conflict { fingerprint: "SHA256:x".into(), claims: Vec::new() }];
    });
    add("this user may not ask", &|overview| {
        overview.sources[0].written = Err(io::ErrorKind::PermissionDenied.into());
        overview.lookups = Some(Err(ErrorReport::hinted("the journal cannot be read", "run it with sudo")));
    });
    insta::assert_snapshot!(text);
}
