//! Several processes on one database, which only PostgreSQL supports.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::service::{PATIENCE, Service, is_on_postgres, new_key};

#[tokio::test]
async fn streams_of_one_replica_get_changes_of_another_immediately() {
    if !is_on_postgres() {
        return;
    }
    let service = Service::start();
    let replica = service.replica();
    let (ana, host) = (service.account("ana"), service.host("push1"));
    let mut stream = replica.changes(&host, None).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), pushkeys_feed::Event::Reset);
    let mut fastest = PATIENCE;
    for number in 0..5 {
        let key = new_key(&service, &format!("key{number}"));
        assert_eq!(service.put(&ana, "laptop", &key).await.0, StatusCode::OK);
        let told_at = Instant::now();
        assert!(stream.next().await.is_some());
        fastest = fastest.min(told_at.elapsed());
        // Removing the key that had the name is a change too.
        if number > 0 {
            assert!(stream.next().await.is_some());
        }
    }
    assert!(fastest < Duration::from_millis(500), "{fastest:?}: a poll would take a second");
}
