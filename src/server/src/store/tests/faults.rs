//! Writes go on after a fault of the database, without a restart.

use std::sync::Arc;
use std::time::Duration;

use pushkeys_tests::{Balancer, NetworkState, PostgresDatabase, PostgresServer, SmallDisk};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::{LIMITS, TestDatabase, on_both_databases};
use crate::database::Open;
use crate::store::{Store, StoreError};

/// How long the pools have to replace connections.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may take until writes go on, once a server takes them.
const SWITCH_TIME_MAX: Duration = Duration::from_secs(5);
/// How long closing a store may take whose server does not answer.
const STOP_TIME_MAX: Duration = Duration::from_secs(6);
/// Writers at once: more than there are connections.
const WRITERS: usize = 8;

/// Writes in a transaction.
async fn write(store: &Store) -> Result<(), StoreError> {
    store.begin_epoch().await.map(drop)
}

/// Runs [`WRITERS`] writes at once; returns how many failed.
async fn write_at_once(store: &Store) -> usize {
    let mut writes = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writes.spawn(async move { write(&store).await });
    }
    writes.join_all().await.iter().filter(|written| written.is_err()).count()
}

on_both_databases! {
    writes_that_are_cancelled_leave_nothing_behind
}

async fn writes_that_are_cancelled_leave_nothing_behind(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    for number in 0..200 {
        // From before the transaction begins until after its end.
        let time = Duration::from_micros(number * 40);
        let _ = timeout(time, write(&store)).await;
        // Reads are cancelled as well.
        let _ = timeout(time, store.snapshot()).await;
    }
    assert_eq!(write_at_once(&store).await, 0);
    if let TestDatabase::Postgres(database) = &database {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        let deadline = Instant::now() + RECOVERY_TIME_MAX;
        while database.query(open).trim() != "0" {
            assert!(
                Instant::now() < deadline,
                "{}",
                database.query("SELECT state, query FROM pg_stat_activity")
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_succeed_after_another_session_held_the_writer_lock_for_longer_than_they_wait() {
    let TestDatabase::Postgres(database) = TestDatabase::postgres() else { unreachable!() };
    let database = Arc::new(database);
    let store = Store::open(&database.url().parse().unwrap(), Open::Prepare, LIMITS).await.unwrap();
    let holder = database.clone();
    let held = spawn_blocking(move || {
        holder.query("BEGIN; SELECT one FROM service FOR UPDATE; SELECT pg_sleep(10); COMMIT")
    });
    while database
        .query(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND wait_event = 'PgSleep'",
        )
        .trim()
        == "0"
    {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(write_at_once(&store).await > 0, "they wait for less than 10 s");
    held.await.unwrap();
    assert_eq!(write_at_once(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_succeed_when_a_full_disk_has_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path(), 2, "root:root");
    let database = TestDatabase::Sqlite(directory);
    let store = database.open(LIMITS).await;
    write(&store).await.unwrap();
    disk.fill();
    // What is left of the write-ahead log may take some more.
    let mut number = 0;
    while write(&store).await.is_ok() {
        number += 1;
        assert!(number < 1_000, "the disk is full");
    }
    assert_eq!(write_at_once(&store).await, WRITERS);
    assert!(store.feed_state().await.is_ok(), "what is stored can be read");
    disk.make_room();
    assert_eq!(write_at_once(&store).await, 0);
    // Nothing is locked for other processes either.
    let other = database.open(LIMITS).await;
    write(&other).await.unwrap();
}

/// A primary with a standby, and a store that reaches one of them by an address that is switched.
struct Failover {
    primary: PostgresServer,
    standby: PostgresServer,
    address: Balancer,
    database: PostgresDatabase,
    store: Store,
}

impl Failover {
    async fn prepare() -> Self {
        let servers = spawn_blocking(|| {
            let primary = PostgresServer::start_primary();
            let database = primary.database();
            let standby = PostgresServer::start_standby_of(primary.port());
            (primary, database, standby)
        });
        let (primary, database, standby) = servers.await.unwrap();
        let address = Balancer::start(vec![of(&primary)]);
        let store = open_at(address.port(), database.name()).await;
        store.watch();
        write(&store).await.unwrap();
        assert!(store.health().await.is_good());
        Self { primary, standby, address, database, store }
    }

    /// Waits until the store is healthy, or is not, and agrees with a write.
    async fn expect(&self, is_healthy: bool, time_max: Duration) {
        let begun = Instant::now();
        loop {
            let written = timeout(time_max, write(&self.store)).await.is_ok_and(|written| written.is_ok());
            let health = self.store.health().await;
            if written == is_healthy && health.is_good() == is_healthy {
                return;
            }
            assert!(begun.elapsed() < time_max, "written: {written}, {health:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn open_at(port: u16, name: &str) -> Store {
    let url = format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable");
    Store::open(&url.parse().unwrap(), Open::Prepare, LIMITS).await.unwrap()
}

fn of(server: &PostgresServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_to_the_new_primary_within_seconds_after_the_old_one_vanished_without_a_word() {
    let failover = Failover::prepare().await;
    // Writes hang on the old connections, and attempts to connect on new ones.
    failover.address.set_network(NetworkState::Lost);
    failover.expect(false, RECOVERY_TIME_MAX).await;
    failover.standby.promote();
    failover.address.leads_to(vec![of(&failover.standby)]);
    failover.address.set_network(NetworkState::Clear);
    failover.expect(true, SWITCH_TIME_MAX).await;
    // It hears there what other replicas commit.
    let commits = failover.store.commits();
    let other = open_at(failover.standby.port(), failover.database.name()).await;
    let heard = async {
        while commits.has_changed().is_ok_and(|has_changed| !has_changed) {
            write(&other).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SWITCH_TIME_MAX, heard).await.expect("a commit of another replica is heard");
    // What still hangs does not hold up the end.
    failover.address.set_network(NetworkState::Lost);
    timeout(STOP_TIME_MAX, failover.store.close()).await.expect("the store is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_is_left_for_one_that_does() {
    let failover = Failover::prepare().await;
    let set = |value: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        let _ = failover.primary.sql("postgres", &set).output();
        let _ = failover.primary.sql("postgres", "SELECT pg_reload_conf()").output();
    };
    set("on");
    failover.expect(false, RECOVERY_TIME_MAX).await;
    set("off");
    failover.expect(true, SWITCH_TIME_MAX).await;
    // The address leads to the standby some time before that is promoted, and old connections stay where they are.
    failover.address.leads_to(vec![of(&failover.standby)]);
    failover.address.closes_connections();
    failover.expect(false, RECOVERY_TIME_MAX).await;
    failover.standby.promote();
    failover.expect(true, SWITCH_TIME_MAX).await;
}
