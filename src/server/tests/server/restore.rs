//! Backup, restore and migration of databases.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Output;

use pushkeys_feed::{Epoch, Event};
use pushkeys_tests::PostgresDatabase;
use reqwest::StatusCode;
use serde_json::json;

use crate::host_feed::{register, snapshot};
use crate::service::{Service, is_on_postgres, wait_for};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn epoch(service: &Service, host: &str) -> Epoch {
    snapshot(service, host).await.0.cursor.epoch
}

/// Checks that a host at `sequence` of `epoch` gets a reset.
async fn check_reset(service: &Service, host: &str, epoch: &Epoch, sequence: u64) {
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
async fn a_new_epoch_ends_streams_and_hosts_that_reconnect_get_a_reset() {
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 2).await;
    let before = epoch(&service, &host).await;
    let mut stream = service.changes(&host, Some(&format!("{before}-2"))).await;
    service.ask(&["new-epoch"]);
    assert!(stream.next().await.is_none());
    let now = wait_for_epoch(&service, &host, &before).await;
    check_reset(&service, &host, &before, 2).await;
    let mut goes_on = service.changes(&host, Some(&format!("{now}-2"))).await;
    service.delete(&ana, "key0").await;
    assert_eq!(goes_on.next().await.unwrap().id.unwrap().to_string(), format!("{now}-3"));
}

#[tokio::test]
async fn a_restore_under_a_running_service_begins_a_new_epoch() {
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 3).await;
    let before = epoch(&service, &host).await;
    let mut stream = service.changes(&host, Some(&format!("{before}-3"))).await;
    service.database().ask("UPDATE service SET sequence = 1").await;
    assert!(stream.next().await.is_none());
    wait_for_epoch(&service, &host, &before).await;
    check_reset(&service, &host, &before, 3).await;
    assert!(service.log().contains("the database lost changes that this process has seen"));
}

/// Waits for an epoch other than `before`.
async fn wait_for_epoch(service: &Service, host: &str, before: &Epoch) -> Epoch {
    wait_for(|| service.log().contains("the database has a new epoch").then_some(()));
    let now = epoch(service, host).await;
    assert_ne!(&now, before);
    now
}

#[tokio::test]
async fn a_copy_is_made_while_the_service_writes_and_begins_a_new_epoch_when_served() {
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
    // The original is still served: nothing changes for hosts.
    assert_eq!(epoch(&service, &host).await, before);

    let mut epochs = vec![before.clone()];
    for _ in 0..2 {
        service.stop();
        fs::copy(&copy, service.database().path()).unwrap();
        service.restart();
        let (restored, fingerprints) = snapshot(&service, &host).await;
        assert_eq!(fingerprints.len(), 2);
        check_reset(&service, &host, &before, 3).await;
        assert!(!epochs.contains(&restored.cursor.epoch), "each restore begins another epoch");
        epochs.push(restored.cursor.epoch);
    }
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_under_the_service_confirms_nothing_that_is_lost() {
    if is_on_postgres() {
        return;
    }
    let service = Service::start();
    let (host, ana) = (service.host("push1"), service.account("ana"));
    register(&service, &ana, 2).await;
    let before = epoch(&service, &host).await;
    let copy = service.path("copy.db");
    service.ask(&["backup", &copy.display().to_string()]);
    service.delete(&ana, "key1").await;
    let mut stream = service.changes(&host, Some(&format!("{before}-3"))).await;

    let path = service.database().path();
    let aside = service.path("aside.db");
    fs::rename(&path, &aside).unwrap();
    let key = crate::service::new_key(&service, "lost");
    assert_eq!(service.put(&ana, "lost", &key).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/healthz", "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    // The same file again: nothing has happened.
    fs::rename(&aside, &path).unwrap();
    assert_eq!(service.put(&ana, "kept", &key).await.0, StatusCode::OK);
    assert_eq!(stream.next().await.unwrap().id.unwrap().to_string(), format!("{before}-4"));

    // The log of the replaced file is beside the copy, and does not belong to it.
    fs::rename(&copy, &path).unwrap();
    assert!(stream.next().await.is_none());
    let now = wait_for_epoch(&service, &host, &before).await;
    assert!(now > before);
    check_reset(&service, &host, &before, 4).await;
    let names = async || service.keys(&ana).await.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names().await, ["key0", "key1"]);
    assert_eq!(service.put(&ana, "laptop", &key).await.0, StatusCode::OK);
    assert_eq!(names().await, ["key0", "key1", "laptop"]);
    assert!(service.command(&["check"]).status.success());
}

#[tokio::test]
async fn a_restored_dump_is_the_same_history_unless_a_host_has_seen_more() {
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
    let dump = String::from_utf8(service.database().contents()).unwrap();
    service.delete(&ana, "key1").await;
    service.stop();
    let elsewhere = PostgresDatabase::shared();
    elsewhere.restore(&dump);
    service.configure_database(&elsewhere.url());
    service.restart();
    let (restored, fingerprints) = snapshot(&service, &host).await;
    assert_eq!(fingerprints.len(), 2);
    assert_eq!((&restored.cursor.epoch, restored.cursor.sequence), (&before, 2));
    // The host knows of the removal, which is lost.
    check_reset(&service, &host, &before, 3).await;
    wait_for_epoch(&service, &host, &before).await;
}

#[tokio::test]
async fn everything_is_copied_to_postgresql_and_hosts_continue() {
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
    // Encrypted values contain any byte, and some are special to COPY.
    let link = "INSERT INTO github_links (account, github_user, login, sealed_token, linked_at)
        SELECT number, 7, 'ana', x'005C0A0908FF', 0 FROM accounts WHERE name = 'ana' RETURNING account";
    service.database().ask(link).await.unwrap();
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
    assert_eq!(target.query("SELECT encode(sealed_token, 'hex') FROM github_links").trim(), "005c0a0908ff");
    let nulls = "SELECT count(*) FROM keys WHERE verified_at IS NULL AND expires_at IS NULL";
    assert_eq!(target.query(nulls).trim(), "3");
    let mut stream = service.changes(&host, Some(&format!("{}-4", before.0.cursor.epoch))).await;
    assert!(matches!(stream.next().await.unwrap().event.unwrap(), Event::Remove(_)));
    register(&service, &service.account("bob"), 1).await;
    assert_eq!(stream.next().await.unwrap().id.unwrap().sequence, 6);
}

/// A foreign trigger on the keys of the new database.
fn trouble(body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
         CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION trouble();"
    )
}

#[tokio::test]
async fn a_migration_that_is_altered_or_killed_copies_nothing_and_can_be_run_again() {
    if is_on_postgres() {
        return;
    }
    let target = PostgresDatabase::shared();
    let mut service = Service::start();
    let ana = service.account("ana");
    register(&service, &ana, 3).await;
    let own = service.database().url();
    service.configure_database(&target.url());
    // The schema is there already.
    service.restart();
    service.stop();
    service.configure_database(&own);
    let migrate = ["migrate", "--to", &target.url()];
    let is_empty = || target.query("SELECT count(*) FROM accounts").trim() == "0";

    let _ = target.query(&trouble("NEW.created_at := NEW.created_at + (NEW.name = 'key1')::int"));
    let refused = service.command(&migrate);
    let expected = "the table `keys` is not what was sent: 3 rows were, and 3 are there";
    assert!(!refused.status.success() && said(&refused).contains(expected), "{}", said(&refused));
    assert!(is_empty());

    let _ = target.query(&trouble("PERFORM pg_sleep(1)"));
    let mut killed = service.begin(&migrate);
    wait_for(|| {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        (target.query(waiting).trim() != "0").then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Waits until PostgreSQL has noticed.
    let _ = target.query("DROP TRIGGER trouble ON keys");
    assert!(is_empty());
    let moved = service.command(&migrate);
    assert!(moved.status.success() && said(&moved).contains("keys: 3 of 3 compared"), "{}", said(&moved));
    assert_eq!(target.query("SELECT count(*) FROM keys").trim(), "3");
}
