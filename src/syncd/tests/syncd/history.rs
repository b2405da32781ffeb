//! What does not go on from where a host is, is refused by name and changes nothing, whether it is a snapshot or a stream.

use crate::support::{Answer, Host, Service, entry, key, snapshot_of, wait_for, with_type};
use pushkeys_cache::status::State;
use pushkeys_feed::{CHANGES_PATH, Event, SNAPSHOT_PATH};

const NDJSON: &str = pushkeys_feed::SNAPSHOT_MEDIA_TYPE;

fn entries(count: u64) -> Vec<pushkeys_feed::Entry> {
    (0..count).map(|number| entry(number, "acct_7")).collect()
}

/// A stream of `events`, and then nothing.
fn stream(events: &str) -> Answer {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n",
        pushkeys_feed::CHANGES_MEDIA_TYPE
    );
    Answer::Silence((head + events).into_bytes())
}

fn following(service: &Service) -> Host {
    let mut host = Host::new();
    host.configure(&service.feed("silence_max = \"2s\""));
    service.holds(&entries(5));
    host.start();
    host.wait_in_sync("api", 5);
    service.change(&Event::Put(entry(5, "acct_7")));
    host.wait_in_sync("api", 6);
    host
}

#[test]
fn a_stream_that_does_not_go_on_from_here_is_refused() {
    let service = Service::start();
    let host = following(&service);
    let remove = |id: &str| {
        format!(
            "{id}event: remove\ndata: {{\"fingerprint\":\"{}\"}}\n\nevent: heartbeat\ndata: {{\"sequence\":1}}\n\n",
            key(0).0
        )
    };
    let rows = [
        (remove("id: double-1\n"), "the stream runs backwards: change `double-1` came after `double-1`"),
        (remove("id: double-0\n"), "the stream runs backwards: change `double-0` came after `double-1`"),
        (remove("id: double-3\n"), "the stream has a gap: change `double-3` came after `double-1`"),
        (
            remove("id: other-2\n"),
            "goes on with change `other-2` of another epoch, and this host has `double-1`",
        ),
        (remove(""), "a change without an id after `double-1`"),
        (remove("id: double-02\n"), "a change whose id cannot be read after `double-1`"),
        (
            "event: heartbeat\ndata: {\"sequence\":0}\n\n".to_owned(),
            "the heartbeat is of change 0, which is before `double-1`",
        ),
        (
            "event: heartbeat\ndata: {\"sequence\":9}\n\n".repeat(3),
            "stayed at change 1 while the service is at change 9",
        ),
    ];
    let before = host.bytes("api");
    for (events, expected) in rows {
        service.changes_answer(Some(stream(&events)));
        // A source that was refused often is asked seldom, unless its operator asks for it.
        host.signal(rustix::process::Signal::HUP);
        let status = host.wait_for_error("api", expected);
        assert_eq!((status.keys, status.cursor.as_deref()), (6, Some("double-1")), "{expected}");
        assert!(matches!(status.state, State::Refused | State::Behind), "{expected}: {status:?}");
        host.wait_for_log(expected);
    }
    let shards = |mut files: std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        files.retain(|path, _| !path.ends_with("HEAD"));
        files
    };
    assert_eq!(shards(host.bytes("api")), shards(before));
    assert_eq!(service.count(SNAPSHOT_PATH), 1, "a refused stream asks for no snapshot");
    // What came before in the same breath counts.
    let fingerprint = key(1).0;
    let good = format!("id: double-2\nevent: remove\ndata: {{\"fingerprint\":\"{fingerprint}\"}}\n\n");
    service.changes_answer(Some(stream(&(good + &remove("id: double-9\n")))));
    host.signal(rustix::process::Signal::HUP);
    let status = host.wait_for_error("api", "change `double-9` came after `double-2`");
    assert_eq!((status.keys, host.account("api", 1)), (5, None));
    service.changes_answer(None);
    service.change(&Event::Remove(fingerprint));
    service.change(&Event::Remove(key(0).0));
    host.signal(rustix::process::Signal::HUP);
    host.wait_in_sync("api", 4);
}

#[test]
fn a_key_that_was_removed_does_not_come_back_with_an_older_snapshot() {
    let service = Service::start();
    let mut host = following(&service);
    service.holds(&entries(6));
    service.change(&Event::Remove(key(0).0));
    host.wait_in_sync("api", 5);
    service.changes_answer(Some(stream("event: reset\ndata: {}\n\n")));
    let expected = "the snapshot is older than what is in force: it is of change `double-1`, and this host has `double-2`";
    host.wait_for_error("api", expected);
    // Each refused snapshot is followed by another try of the stream, up to the turns of a minute.
    wait_for("all turns to be used", || host.log().contains("asks for too many snapshots").then_some(()));
    assert!(service.count(SNAPSHOT_PATH) <= 4, "{}", service.count(SNAPSHOT_PATH));
    assert_eq!(host.account("api", 0), None);
    host.stop();
    host.start();
    host.wait_for_error("api", expected);
    assert_eq!(host.account("api", 0), None, "a restart forgets nothing");
    service.changes_answer(None);
    host.wait_in_sync("api", 5);
}

#[test]
fn a_polled_snapshot_leads_neither_back_nor_into_an_epoch_that_was_left() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    let answer = |cursor: &str, count: u64| {
        let body = snapshot_of(&cursor.parse().unwrap(), &entries(count));
        service.answer(Answer::Bytes(with_type(NDJSON, &body)));
    };
    answer("b-10", 10);
    host.start();
    host.wait_in_sync("web", 10);
    answer("b-9", 11);
    host.wait_for_error(
        "web",
        "the snapshot is older than what is in force: it is of change `b-9`, and this host has `b-10`",
    );
    assert_eq!(host.account("web", 10), None);
    answer("b-10", 12);
    host.wait_in_sync("web", 12);
    answer("c-1", 13);
    host.wait_in_sync("web", 13);
    let expected = "of an epoch that this host has left: it is of change `b-11`, and this host has `c-1`";
    answer("b-11", 14);
    host.wait_for_error("web", expected);
    host.stop();
    host.start();
    wait_for("the refusal after a restart", || (host.log().matches(expected).count() > 1).then_some(()));
    assert_eq!(host.account("web", 13), None);
    answer("c-2", 14);
    host.wait_in_sync("web", 14);
}

#[test]
fn a_service_that_only_begins_well_is_asked_ever_less_often() {
    let service = Service::start();
    let host = following(&service);
    service.changes_answer(Some(Answer::Bytes(with_type(pushkeys_feed::CHANGES_MEDIA_TYPE, b":\n"))));
    let before = service.count(CHANGES_PATH);
    let started = std::time::Instant::now();
    host.wait_for_error("api", "ended the stream of changes");
    while started.elapsed() < std::time::Duration::from_secs(3) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let asked = service.count(CHANGES_PATH) - before;
    assert!((2..=7).contains(&asked), "asked {asked} times in 3 s");
}
