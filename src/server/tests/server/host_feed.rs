//! The host feed over a real connection.

use crate::service::{Account, Service, new_key, wait_for};
use pushkeys_feed::{Cursor, Event, Snapshot, SnapshotLine, SnapshotReader};
use pushkeys_keys::{Fingerprint, Policy, ValidKey};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// Reads a snapshot as syncd does; returns its fingerprints in order.
fn read(body: &[u8]) -> (Snapshot, Vec<Fingerprint>) {
    let (mut reader, mut lines, mut fingerprints) = (SnapshotReader::default(), Vec::new(), Vec::new());
    reader.push(body, &mut lines).unwrap();
    for line in lines {
        match line {
            SnapshotLine::Entry(entry) => fingerprints.push(entry.fingerprint),
            SnapshotLine::Malformed(error) => panic!("{error}"),
            SnapshotLine::Header(_) => {}
        }
    }
    (reader.finish().unwrap(), fingerprints)
}

pub(crate) async fn snapshot(service: &Service, host: &str) -> (Snapshot, Vec<Fingerprint>) {
    let response = service.request(Method::GET, pushkeys_feed::SNAPSHOT_PATH, host).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], pushkeys_feed::SNAPSHOT_MEDIA_TYPE);
    read(&response.bytes().await.unwrap())
}

/// Registers `count` real keys.
pub(crate) async fn register(service: &Service, account: &Account, count: usize) {
    for number in 0..count {
        let key = new_key(service, &format!("{}-{number}", account.id));
        let (status, body) = service.put(account, &format!("key{number}"), &key).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

fn sequence(id: Option<Cursor>) -> u64 {
    id.unwrap().sequence
}

#[tokio::test]
async fn a_snapshot_contains_every_key_in_order_and_a_valid_trailer() {
    let service = Service::start();
    let host = service.host("push1");
    let (empty, none) = snapshot(&service, &host).await;
    assert_eq!((empty.cursor.sequence, empty.entries, none.len()), (0, 0, 0));
    let ana = service.account("ana");
    register(&service, &ana, 5).await;
    service.delete(&ana, "key2").await;
    let (snapshot, fingerprints) = snapshot(&service, &host).await;
    assert_eq!((snapshot.cursor.sequence, snapshot.entries), (6, 4));
    assert!(fingerprints.is_sorted());
    let mut listed: Vec<Fingerprint> =
        service.keys(&ana).await.iter().map(|(_, fingerprint)| fingerprint.parse().unwrap()).collect();
    listed.sort();
    assert_eq!(fingerprints, listed);
}

#[tokio::test]
async fn a_snapshot_is_compressed_on_request() {
    let service = Service::start();
    let host = service.host("push1");
    let request = service.request(Method::GET, pushkeys_feed::SNAPSHOT_PATH, &host);
    let response = request.header("accept-encoding", "zstd").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "zstd");
}

#[tokio::test]
async fn a_new_stream_gets_a_reset_and_then_the_changes() {
    let service = Service::start();
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 1).await;
    let epoch = snapshot(&service, &host).await.0.cursor.epoch;
    for last_event_id in [None, Some("other-1"), Some("nonsense")] {
        let mut stream = service.changes(&host, last_event_id).await;
        let first = stream.next().await.unwrap();
        assert_eq!(first.event.unwrap(), Event::Reset, "{last_event_id:?}");
        assert_eq!(first.id, None);
    }
    let mut stream = service.changes(&host, None).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
    service.delete(&ana, "key0").await;
    let removed = stream.next().await.unwrap();
    assert!(matches!(removed.event, Ok(Event::Remove(_))));
    assert_eq!(removed.id.unwrap(), Cursor { epoch, sequence: 2 });
}

#[tokio::test]
async fn a_host_resumes_after_its_last_event() {
    let mut service = Service::start();
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 3).await;
    let epoch = snapshot(&service, &host).await.0.cursor.epoch;
    service.restart();
    for seen in 0..3 {
        let mut stream = service.changes(&host, Some(&format!("{epoch}-{seen}"))).await;
        for expected in seen + 1..=3 {
            let received = stream.next().await.unwrap();
            assert_eq!(sequence(received.id), expected);
            assert!(matches!(received.event, Ok(Event::Put(entry)) if entry.account.as_str() == ana.id));
        }
    }
}

#[tokio::test]
async fn a_host_whose_next_change_is_no_longer_kept_gets_a_reset() {
    let service = Service::start_with("changes_max = 2");
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 3).await;
    let epoch = snapshot(&service, &host).await.0.cursor.epoch;
    let mut too_late = service.changes(&host, Some(&format!("{epoch}-0"))).await;
    assert_eq!(too_late.next().await.unwrap().event.unwrap(), Event::Reset);
    let mut in_time = service.changes(&host, Some(&format!("{epoch}-1"))).await;
    assert_eq!(sequence(in_time.next().await.unwrap().id), 2);
}

#[tokio::test]
async fn changes_of_another_process_are_sent_too() {
    let service = Service::start();
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 3).await;
    let mut stream = service.changes(&host, None).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
    service.ask(&["account", "remove", "ana"]);
    for expected in 4..=6 {
        let removed = stream.next().await.unwrap();
        assert!(matches!(removed.event, Ok(Event::Remove(_))));
        assert_eq!(sequence(removed.id), expected);
    }
    assert_eq!(service.get("/v2/self", &ana.bearer).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(snapshot(&service, &host).await.1, []);
}

#[tokio::test]
async fn a_slow_host_misses_nothing() {
    let service = Service::start();
    let host = service.host("push1");
    let count = 15_000;
    // With long names, this is far more than sockets and the hub's messages can buffer.
    let filling = "x".repeat(160);
    let mut slow = service.changes(&host, None).await;
    let lines = synthetic_keys(count)
        .map(|key| json!({ "account": "ana", "name": format!("{key} {filling}"), "key": key }).to_string());
    let import = lines.collect::<Vec<_>>().join("\n");
    std::fs::write(service.path("import"), import).unwrap();
    let path = service.path("import").display().to_string();
    assert_eq!(service.ask(&["import", "--create", &path])["stored"], count);
    assert_eq!(slow.next().await.unwrap().event.unwrap(), Event::Reset);
    for expected in 1..=count {
        assert_eq!(sequence(slow.next().await.unwrap().id), expected);
    }
}

/// Keys without known private keys: about every second number is the encoding of a point.
fn synthetic_keys(count: u64) -> impl Iterator<Item = String> {
    use base64ct::{Base64, Encoding as _};
    (0_u32..)
        .map(|number| {
            let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
            blob.extend_from_slice(&number.to_be_bytes());
            blob.extend_from_slice(&[7; 28]);
            format!("ssh-ed25519 {}", Base64::encode_string(&blob))
        })
        .filter(|text| ValidKey::check(text, &Policy::default()).is_ok())
        .take(usize::try_from(count).unwrap())
}

#[tokio::test]
async fn heartbeats_contain_the_last_sequence_number_that_was_sent() {
    let service = Service::start_with("heartbeat = \"100ms\"");
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 2).await;
    let mut stream = service.changes(&host, None).await;
    assert!(matches!(stream.next_of_any_kind().await.unwrap().event, Ok(Event::Reset)));
    for _ in 0..3 {
        let beat = stream.next_of_any_kind().await.unwrap();
        assert!(matches!(beat.event, Ok(Event::Heartbeat { sequence: 2 })));
        assert_eq!(beat.id, None);
    }
}

#[tokio::test]
async fn a_revoked_host_loses_its_streams_and_others_keep_theirs() {
    let service = Service::start();
    let (revoked, kept) = (service.host("push1"), service.host("push2"));
    let ana = service.account("ana");
    let mut ends = service.changes(&revoked, None).await;
    let mut goes_on = service.changes(&kept, None).await;
    assert_eq!(ends.next().await.unwrap().event.unwrap(), Event::Reset);
    assert_eq!(goes_on.next().await.unwrap().event.unwrap(), Event::Reset);
    service.ask(&["host", "revoke", "push1"]);
    assert!(ends.next().await.is_none());
    register(&service, &ana, 1).await;
    assert!(matches!(goes_on.next().await.unwrap().event, Ok(Event::Put(_))));
    for path in [pushkeys_feed::SNAPSHOT_PATH, pushkeys_feed::CHANGES_PATH] {
        let response = service.request(Method::GET, path, &revoked).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn an_accounts_credential_does_not_open_the_feed() {
    let service = Service::start();
    let (ana, host) = (service.account("ana"), service.host("push1"));
    for path in [pushkeys_feed::SNAPSHOT_PATH, pushkeys_feed::CHANGES_PATH] {
        for (credential, expected) in [
            (&ana.bearer, StatusCode::UNAUTHORIZED),
            (&String::new(), StatusCode::UNAUTHORIZED),
            (&host, StatusCode::OK),
        ] {
            let response = service.request(Method::GET, path, credential).send().await.unwrap();
            assert_eq!(response.status(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_stop_ends_streams_instead_of_waiting_for_them() {
    let mut service = Service::start();
    let host = service.host("push1");
    let mut stream = service.changes(&host, None).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
    service.stop();
    assert!(stream.next().await.is_none());
    assert!(wait_for(|| service.log().contains("stopped").then_some(true)));
    assert!(!service.log().contains("cut off"));
}

#[tokio::test]
async fn a_host_has_few_streams_of_which_the_newest_stay() {
    let service = Service::start();
    let (host, other) = (service.host("push1"), service.host("push2"));
    let mut others = service.changes(&other, None).await;
    let mut oldest = service.changes(&host, None).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(service.changes(&host, None).await);
    }
    assert_eq!(oldest.next().await.unwrap().event.unwrap(), Event::Reset);
    assert!(oldest.next().await.is_none(), "the oldest of five ends");
    let ana = service.account("ana");
    register(&service, &ana, 1).await;
    for stream in [&mut streams[0], &mut others] {
        assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
        assert!(matches!(stream.next().await.unwrap().event.unwrap(), Event::Put(_)));
    }
}

#[tokio::test]
async fn a_host_that_reports_too_much_is_told_to_wait_and_others_are_not() {
    let service = Service::start();
    let (host, other) = (service.host("push1"), service.host("push2"));
    let one = |number: usize| {
        let fingerprint = Fingerprint::of(number.to_string().as_bytes()).to_string();
        json!({ "fingerprint": fingerprint, "key_id": "key_1", "kind": "fetch", "at": "2026-01-01T10:00:00Z" })
    };
    let uses: Vec<_> = (0..pushkeys_feed::REPORT_ITEMS_MAX).map(one).collect();
    let report = json!({ "uses": uses });
    let post = async |host: &str| {
        service.request(Method::POST, pushkeys_feed::USAGE_PATH, host).json(&report).send().await.unwrap()
    };
    let refused = loop {
        let response = post(&host).await;
        if response.status() != StatusCode::OK {
            break response;
        }
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(post(&other).await.status(), StatusCode::OK);
}
