//! Databases that are copied, put back and moved.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Output;

use feed::{Epoch, Event};
use pushkeys_tests::PostgresDatabase;
use serde_json::json;

use crate::host_feed::{register, snapshot};
use crate::service::{Service, is_on_postgres, wait_for};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn epoch(service: &Service, host: &str) -> Epoch {
    snapshot(service, host).await.0.cursor.epoch
}

/// A host that was at `sequence` of `epoch` is told to take a snapshot.
async fn check_begins_anew(service: &Service, host: &str, epoch: &Epoch, sequence: u64) {
    let mut stream = service.changes(host, Some(&format!("{epoch}-{sequence}"))).await;
    assert_eq!(stream.next().await.unwrap().event.unwrap(), Event::Reset);
}

#[tokio::test]
async fn a_restart_keeps_the_epoch() {
    let mut service = Service::start();
    let host = service.host("push1");
    let before = epoch(&service, &host).await;
    service.restart();
    assert_eq!(epoch(&service, &host).await, before);
}

#[tokio::test]
async fn a_new_epoch_ends_streams_and_hosts_that_come_back_begin_anew() {
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 2).await;
    let before = epoch(&service, &host).await;
    let mut stream = service.changes(&host, Some(&format!("{before}-2"))).await;
    service.ask(&["new-epoch"]);
    assert!(stream.next().await.is_none());
    let now = wait_for_epoch(&service, &host, &before).await;
    check_begins_anew(&service, &host, &before, 2).await;
    let mut goes_on = service.changes(&host, Some(&format!("{now}-2"))).await;
    service.delete(&ana, "key0").await;
    assert_eq!(goes_on.next().await.unwrap().id.unwrap().to_string(), format!("{now}-3"));
}

#[tokio::test]
async fn a_database_that_is_put_back_under_a_running_service_begins_a_new_epoch_by_itself() {
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 3).await;
    let before = epoch(&service, &host).await;
    let mut stream = service.changes(&host, Some(&format!("{before}-3"))).await;
    service.database().ask("UPDATE service SET sequence = 1").await;
    assert!(stream.next().await.is_none());
    wait_for_epoch(&service, &host, &before).await;
    check_begins_anew(&service, &host, &before, 3).await;
    assert!(service.log().contains("the database was put back"));
}

/// The epoch once it is another than `before`, for the service, too.
async fn wait_for_epoch(service: &Service, host: &str, before: &Epoch) -> Epoch {
    wait_for(|| service.log().contains("begins a new epoch").then_some(()));
    let now = epoch(service, host).await;
    assert_ne!(&now, before);
    now
}

#[tokio::test]
async fn a_copy_is_made_while_the_service_writes_and_begins_a_new_epoch_wherever_it_is_served() {
    if is_on_postgres() {
        return;
    }
    let mut service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 2).await;
    let before = epoch(&service, &host).await;
    let copy = service.path("copy.db");
    let path = copy.display().to_string();
    assert_eq!(service.ask(&["backup", &path]), json!({ "file": path }));
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    let again = service.command(&["backup", &path]);
    assert!(!again.status.success());
    assert!(said(&again).contains("File exists"), "{}", said(&again));
    service.delete(&ana, "key1").await;
    // The copy is not what is served: nothing changes for hosts.
    assert_eq!(epoch(&service, &host).await, before);

    let mut epochs = vec![before.clone()];
    for _ in 0..2 {
        service.stop();
        fs::copy(&copy, service.database().path()).unwrap();
        service.restart();
        let (restored, fingerprints) = snapshot(&service, &host).await;
        assert_eq!(fingerprints.len(), 2);
        check_begins_anew(&service, &host, &before, 3).await;
        assert!(!epochs.contains(&restored.cursor.epoch), "each restore begins another life");
        epochs.push(restored.cursor.epoch);
    }
}

#[tokio::test]
async fn a_dump_that_is_restored_elsewhere_begins_a_new_epoch() {
    if !is_on_postgres() {
        return;
    }
    let mut service = Service::start();
    let host = service.host("push1");
    let ana = service.account("ana");
    register(&service, &ana, 2).await;
    let before = epoch(&service, &host).await;
    let refused = service.command(&["backup", "/nowhere"]);
    assert!(said(&refused).contains("hint: pg_dump --format=custom --file=/nowhere"), "{}", said(&refused));
    service.stop();
    let elsewhere = PostgresDatabase::shared();
    elsewhere.restore(&String::from_utf8(service.database().contents()).unwrap());
    service.configure_database(&elsewhere.url());
    service.restart();
    let (restored, fingerprints) = snapshot(&service, &host).await;
    assert_eq!(fingerprints.len(), 2);
    assert_ne!(restored.cursor.epoch, before);
    check_begins_anew(&service, &host, &before, 2).await;
}

#[tokio::test]
async fn everything_moves_to_postgresql_and_hosts_go_on() {
    let target = PostgresDatabase::shared();
    let mut service = Service::start();
    if is_on_postgres() {
        let refused = service.command(&["migrate", "--to", &target.url()]);
        assert!(said(&refused).contains("moves from SQLite to PostgreSQL"), "{}", said(&refused));
        return;
    }
    let (host, ana) = (service.host("push1"), service.account("ana"));
    let hostile = service.account("x\\N'); DROP TABLE keys; -- \u{e9}");
    register(&service, &ana, 3).await;
    register(&service, &hostile, 1).await;
    service.delete(&ana, "key2").await;
    let before = snapshot(&service, &host).await;
    let listed = service.get("/v2/self/keys", &ana.bearer).await;

    let refused = service.command(&["migrate", "--to", &target.url()]);
    assert!(said(&refused).contains("stop the service first"), "{}", said(&refused));
    service.stop();
    let moved = service.ask(&["migrate", "--to", &target.url()]);
    assert!(moved["rows"].as_u64().unwrap() >= 12, "{moved}");
    let refused = service.command(&["migrate", "--to", &target.url()]);
    assert!(said(&refused).contains("holds rows in `"), "{}", said(&refused));

    service.configure_database(&target.url());
    service.restart();
    assert_eq!(snapshot(&service, &host).await, before);
    assert_eq!(service.get("/v2/self/keys", &ana.bearer).await, listed);
    assert_eq!(listed.1.as_array().unwrap().len(), 2);
    let nulls = "SELECT count(*) FROM keys WHERE verified_at IS NULL AND expires_at IS NULL";
    assert_eq!(target.query(nulls).trim(), "3");
    let mut stream = service.changes(&host, Some(&format!("{}-4", before.0.cursor.epoch))).await;
    assert!(matches!(stream.next().await.unwrap().event.unwrap(), Event::Remove(_)));
    register(&service, &service.account("bob"), 1).await;
    assert_eq!(stream.next().await.unwrap().id.unwrap().sequence, 6);
}
