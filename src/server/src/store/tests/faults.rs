//! Writes go on after a fault of the database, without a restart.

use std::sync::Arc;
use std::time::Duration;

use pushkeys_tests::SmallDisk;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::{LIMITS, TestDatabase, on_both_databases};
use crate::database::Open;
use crate::store::{Store, StoreError};

/// How long the pools have to replace connections.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(10);
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
