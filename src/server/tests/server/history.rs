//! Chain values and digests in the feed, and positions of hosts that the database does not have.

use pushkeys_feed::{Chain, Event, EventId, KeySum, Position, SnapshotLine, SnapshotReader};
use reqwest::Method;

use crate::host_feed::{register, snapshot};
use crate::service::{Service, wait_for};

/// The position and the sum in the header of a snapshot, and the sum of its entries.
pub(crate) async fn header(service: &Service, host: &str) -> (Position, KeySum, KeySum) {
    let path = format!("{}?with=rights,chain", pushkeys_feed::SNAPSHOT_PATH);
    let body = service.request(Method::GET, &path, host).send().await.unwrap().bytes().await.unwrap();
    let (mut reader, mut lines) = (SnapshotReader::default(), Vec::new());
    reader.push(&body, &mut lines).unwrap();
    let mut found = KeySum::default();
    for line in lines {
        if let SnapshotLine::Entry(entry) = line {
            found.add(entry.key_digest());
        }
    }
    let snapshot = reader.finish().unwrap();
    let position = Position { cursor: snapshot.cursor, chain: snapshot.chain };
    (position, snapshot.sum.unwrap(), found)
}

#[tokio::test]
async fn a_host_that_asks_gets_chain_and_digest_and_another_does_not() {
    let service = Service::start_with("heartbeat = \"100ms\"");
    let (host, ana) = (service.host("push1"), service.account("ana"));
    let (mut at, empty, _) = header(&service, &host).await;
    assert_eq!((empty, at.chain), (KeySum::default(), Some(Chain::start(&at.cursor.epoch))));
    register(&service, &ana, 2).await;
    let mut chained = service.chained_changes(&host, Some(&at.id().to_string())).await;
    for _ in 0..2 {
        let received = chained.next().await.unwrap();
        at.chain = at.chain.map(|chain| received.next_chain(&chain));
        at.cursor = received.id.clone().unwrap();
        assert_eq!(received.chain, at.chain.map(|chain| chain.prefix()));
    }
    let (head, told, found) = header(&service, &host).await;
    assert_eq!((&head, told), (&at, found));
    let beat = chained.next_of_any_kind().await.unwrap();
    assert_eq!(beat.event.unwrap(), Event::Checkpoint { sequence: 2, sum: told });

    let plain = snapshot(&service, &host).await.0;
    assert_eq!((plain.cursor, plain.chain, plain.sum), (head.cursor.clone(), None, None));
    let mut plain = service.changes(&host, Some(&format!("{}-0", head.cursor.epoch))).await;
    for _ in 0..2 {
        assert_eq!(plain.next().await.unwrap().chain, None);
    }
    assert_eq!(plain.next_of_any_kind().await.unwrap().event.unwrap(), Event::Heartbeat { sequence: 2 });
    // A host that was updated has a number and no chain value.
    let mut updated = service.chained_changes(&host, Some(&head.cursor.to_string())).await;
    assert_eq!(updated.next().await.unwrap().event.unwrap(), Event::Reset);
    let mut goes_on = service.chained_changes(&host, Some(&head.id().to_string())).await;
    service.delete(&ana, "key0").await;
    assert_eq!(goes_on.next().await.unwrap().id.unwrap().sequence, 3);
}

/// Checks that a host that names `id` gets a reset, and whether a new epoch began; returns the end of the history.
async fn names(service: &Service, host: &str, id: &EventId, begins: bool) -> Position {
    let before = header(service, host).await.0;
    let mut stream = service.chained_changes(host, Some(&id.to_string())).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset, "{id}");
    let now = header(service, host).await.0;
    assert_eq!(now.cursor.epoch > before.cursor.epoch, begins, "{id}");
    if begins {
        // The hub ends all streams of the old epoch.
        assert!(stream.next().await.is_none());
        wait_for(|| service.log().contains(&format!("to={}", now.id())).then_some(()));
    }
    now
}

#[tokio::test]
async fn a_host_that_has_seen_what_is_lost_causes_a_new_epoch_once_an_hour() {
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 2).await;
    let head = header(&service, &host).await.0;
    let id = |sequence: u64, chain: &str| EventId {
        cursor: pushkeys_feed::Cursor { epoch: head.cursor.epoch.clone(), sequence },
        chain: Some(chain.parse().unwrap()),
    };
    let older = EventId { cursor: "00000000000000000000000000-9".parse().unwrap(), chain: None };
    names(&service, &host, &older, false).await;
    names(&service, &host, &id(2, "0123456789abcdef"), true).await;
    let now = names(&service, &host, &id(9, "0123456789abcdef"), false).await;
    assert!(service.log().contains("has changes that are not in the database: a new epoch begins"));
    let beyond = EventId {
        cursor: pushkeys_feed::Cursor { sequence: 9, ..now.cursor.clone() },
        chain: now.id().chain,
    };
    names(&service, &host, &beyond, false).await;
    // Nor does another host so soon.
    names(&service, &service.host("push2"), &beyond, false).await;
    assert!(service.log().contains("it has caused a new epoch already"));
    register(&service, &service.account("bob"), 1).await;
}
