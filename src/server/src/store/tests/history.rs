//! The chain and the digest, and what happens when the database loses changes.

use pushkeys_feed::{Chain, EventId, KeySum, Position};
use pushkeys_keys::{AccountId, AccountName, KeyName, Policy, ValidKey};
use pushkeys_tests::SyntheticKeys;

use super::{LIMITS, TestDatabase, on_both_databases};
use crate::database::sql;
use crate::store::{Actor, Changes, FeedState, KeyToPut, Store, StoreLimits};

on_both_databases! {
    chain_and_digest_are_those_of_the_changes
    changes_that_were_lost_begin_a_new_epoch_before_the_next_is_numbered
    a_change_that_is_written_over_begins_a_new_epoch
    an_older_epoch_begins_a_new_one
    a_replica_accepts_an_epoch_that_another_began
    what_a_host_names_begins_a_new_epoch_only_if_it_is_missing
    a_host_resumes_where_its_chain_is_that_of_the_database
    epochs_are_begun_in_order
    a_key_that_something_else_removed_is_found_and_hosts_are_told
}

/// The service on some state of its database.
struct World {
    store: Store,
    ana: AccountId,
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        let store = database.open(LIMITS).await;
        let ana = store.add_account(&AccountName::parse("ana").unwrap(), None, None).await.unwrap();
        Self { store, ana }
    }

    async fn put(&self, number: u64) -> u64 {
        let text = key(number);
        let key = ValidKey::check(&text, &Policy::default()).unwrap();
        let name = KeyName::parse(&format!("key{number}")).unwrap();
        let wanted = KeyToPut { name: &name, key: &key, text: &text, expires_at: None, may_replace: true };
        let changes = self.store.put_key(&self.ana, &wanted, &Actor::operator()).await.unwrap();
        changes.last().unwrap().sequence
    }

    async fn remove(&self, number: u64) {
        let removed = self.store.remove_key(&self.ana, &format!("key{number}"), &Actor::operator()).await;
        removed.unwrap().unwrap();
    }

    async fn state(&self) -> FeedState {
        self.store.feed_state().await.unwrap()
    }

    async fn head(&self) -> Position {
        self.state().await.head
    }

    async fn execute(&self, statement: &'static str) {
        sql(statement).execute(self.store.database()).await.unwrap();
    }

    /// Takes the last change back, as a failover does to a standby that did not have it.
    async fn lose_the_last_change(&self) {
        self.execute("DELETE FROM changes WHERE sequence = (SELECT sequence FROM service)").await;
        self.execute("UPDATE service SET sequence = sequence - 1, chain = (SELECT chain FROM changes ORDER BY sequence DESC LIMIT 1)")
            .await;
    }

    async fn check_chain_and_digest(&self) {
        let state = self.state().await;
        let mut at = Position::start(state.head.cursor.clone());
        at.cursor.sequence = state.pruned;
        let Changes::Next(changes) = self.store.changes_after(state.pruned, 1_000).await.unwrap() else {
            panic!("pruned")
        };
        for change in &changes {
            let chain = at.follow(change.event.as_str().as_bytes(), change.data.as_bytes());
            assert_eq!((change.sequence, Some(change.chain)), (at.cursor.sequence, chain));
        }
        assert_eq!(at, state.head);
        let mut snapshot = self.store.snapshot().await.unwrap();
        assert_eq!((&snapshot.header().position, snapshot.header().sum), (&state.head, Some(state.sum)));
        let mut sum = KeySum::default();
        while let Some(page) = snapshot.next_page(10).await.unwrap() {
            for line in page.entries.lines() {
                sum.add(pushkeys_feed::Entry::from_json(line.as_bytes()).unwrap().key_digest());
            }
        }
        assert_eq!(sum, state.sum);
    }
}

fn key(number: u64) -> String {
    SyntheticKeys::new(number).next().unwrap().text
}

async fn chain_and_digest_are_those_of_the_changes(database: TestDatabase) {
    let world = World::new(&database).await;
    world.check_chain_and_digest().await;
    assert_eq!(world.state().await.sum, KeySum::default());
    for number in 0..5 {
        world.put(number).await;
    }
    world.remove(1).await;
    world.check_chain_and_digest().await;
    assert_eq!(world.state().await.sum.keys, 4);
    // Another key takes the name of the third.
    let text = key(7);
    let (key, name) = (ValidKey::check(&text, &Policy::default()).unwrap(), KeyName::parse("key2").unwrap());
    let expires_at = Some("2036-01-31T12:00:00Z".parse().unwrap());
    let wanted = KeyToPut { name: &name, key: &key, text: &text, expires_at: None, may_replace: true };
    for wanted in [KeyToPut { ..wanted }, KeyToPut { expires_at, ..wanted }] {
        world.store.put_key(&world.ana, &wanted, &Actor::operator()).await.unwrap();
        world.check_chain_and_digest().await;
        assert_eq!(world.state().await.sum.keys, 4);
    }
    world.store.remove_account(&world.ana).await.unwrap().unwrap();
    world.check_chain_and_digest().await;
    assert_eq!(world.state().await.sum, KeySum::default());
}

async fn changes_that_were_lost_begin_a_new_epoch_before_the_next_is_numbered(database: TestDatabase) {
    let world = World::new(&database).await;
    for number in 0..3 {
        world.put(number).await;
    }
    let before = world.head().await;
    // The numbers catch up with the very next change.
    world.lose_the_last_change().await;
    assert_eq!(world.put(9).await, 3);
    let after = world.state().await;
    assert!(after.head.cursor.epoch > before.cursor.epoch, "{after:?}");
    assert_eq!((after.pruned, after.head.cursor.sequence), (2, 3));
    let kept = world.store.changes_after(2, 10).await.unwrap();
    let Changes::Next(kept) = kept else { panic!("pruned") };
    assert_eq!(kept[0].chain, Chain::start(&after.head.cursor.epoch).next(b"put", kept[0].data.as_bytes()));
    // Nothing is lost now.
    world.put(10).await;
    assert_eq!(world.head().await.cursor.epoch, after.head.cursor.epoch);
    assert!(!world.store.begin_epoch_if_lost(&before).await.unwrap());
}

async fn a_change_that_is_written_over_begins_a_new_epoch(database: TestDatabase) {
    let world = World::new(&database).await;
    world.put(0).await;
    let seen = {
        world.put(1).await;
        world.head().await
    };
    world.lose_the_last_change().await;
    // A replica that has not seen what was lost numbers another change, twice.
    let replica = World { store: database.open(LIMITS).await, ana: world.ana.clone() };
    replica.put(2).await;
    replica.put(3).await;
    assert_eq!(replica.head().await.cursor.epoch, seen.cursor.epoch);
    assert!(world.store.begin_epoch_if_lost(&seen).await.unwrap());
    let epoch = world.head().await.cursor.epoch;
    assert!(epoch > seen.cursor.epoch);
    assert!(!world.store.begin_epoch_if_lost(&seen).await.unwrap());
    replica.put(4).await;
    assert_eq!(world.head().await.cursor.epoch, epoch);
}

async fn an_older_epoch_begins_a_new_one(database: TestDatabase) {
    let world = World::new(&database).await;
    world.put(0).await;
    let old = world.head().await;
    let newer = world.store.begin_epoch().await.unwrap();
    // The whole database is as it was before.
    let id = old.cursor.epoch.to_string();
    sql("UPDATE service SET epoch = $1").bind(id).execute(world.store.database()).await.unwrap();
    world.put(1).await;
    assert!(world.head().await.cursor.epoch > newer);
}

async fn a_replica_accepts_an_epoch_that_another_began(database: TestDatabase) {
    let world = World::new(&database).await;
    world.put(0).await;
    let epoch = database.open(LIMITS).await.begin_epoch().await.unwrap();
    world.put(1).await;
    assert_eq!(world.head().await.cursor.epoch, epoch);
}

async fn what_a_host_names_begins_a_new_epoch_only_if_it_is_missing(database: TestDatabase) {
    let world = World::new(&database).await;
    for number in 0..3 {
        world.put(number).await;
    }
    let head = world.head().await;
    let (epoch, chain) = (head.cursor.epoch.clone(), head.chain.unwrap().prefix());
    let begins = async |id: &str| {
        let id: EventId = id.parse().unwrap();
        let is_likely = world.store.may_have_lost(&world.state().await, &id).await.unwrap();
        let has_begun = world.store.begin_epoch_for_host(&id).await.unwrap();
        assert_eq!(is_likely, has_begun, "{id}");
        has_begun
    };
    for id in [
        format!("{epoch}-3-{chain}"),
        format!("{epoch}-3"),
        format!("{epoch}-1"),
        // None of ours, and from a future in which no service was.
        "zzzzzzzz-9".to_owned(),
        "7zzzzzzzzzzzzzzzzzzzzzzzzz-9".to_owned(),
        "00000000000000000000000000-9".to_owned(),
    ] {
        assert!(!begins(&id).await, "{id}");
    }
    assert_eq!(world.head().await, head);
    for id in [format!("{epoch}-4"), format!("{epoch}-4-{chain}")] {
        assert!(begins(&id).await, "{id}");
        assert!(!begins(&id).await, "{id} is of an older epoch now");
        sql("UPDATE service SET epoch = $1")
            .bind(epoch.as_str())
            .execute(world.store.database())
            .await
            .unwrap();
    }
    let other = format!("{epoch}-3-0123456789abcdef");
    assert!(begins(&other).await);
    let newer = pushkeys_feed::Epoch::new(
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap() + 60_000,
        [0; 10],
        None,
    );
    assert!(begins(&format!("{newer}-1")).await);
    assert!(world.head().await.cursor.epoch > newer);
}

async fn a_host_resumes_where_its_chain_is_that_of_the_database(database: TestDatabase) {
    let world = World {
        store: database.open(StoreLimits { changes_max: 3, ..LIMITS }).await,
        ..World::new(&database).await
    };
    let start = world.head().await.id();
    let resumes = async |id: &EventId| {
        let state = world.state().await;
        world.store.resume_position(&state, id).await.unwrap().is_some()
    };
    assert!(resumes(&start).await);
    let mut ids = Vec::new();
    for number in 0..3 {
        world.put(number).await;
        ids.push(world.head().await.id());
    }
    for id in [&start, &ids[0], &ids[2]] {
        assert!(resumes(id).await, "{id}");
        assert!(resumes(&EventId { chain: None, ..id.clone() }).await, "{id}");
    }
    let other = EventId { chain: ids[0].chain, ..ids[1].clone() };
    let beyond = EventId { cursor: "x-9".parse().unwrap(), chain: None };
    assert!(!resumes(&other).await && !resumes(&beyond).await);
    for number in 3..5 {
        world.put(number).await;
    }
    // What is after these was dropped, and what is after the next is kept.
    assert!(!resumes(&start).await && !resumes(&ids[0]).await && resumes(&ids[2]).await);
}

async fn epochs_are_begun_in_order(database: TestDatabase) {
    let world = World::new(&database).await;
    let mut last = world.head().await.cursor.epoch;
    for _ in 0..5 {
        let next = world.store.begin_epoch().await.unwrap();
        assert!(next > last && next.began_at_ms().is_some(), "{next}");
        last = next;
    }
}

async fn a_key_that_something_else_removed_is_found_and_hosts_are_told(database: TestDatabase) {
    let world = World::new(&database).await;
    for number in 0..3 {
        world.put(number).await;
    }
    let difference = async || world.store.find_sum_difference(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(difference().await, None);
    assert!(!world.store.repair_sum().await.unwrap());
    let before = world.state().await;
    world.execute("DELETE FROM keys WHERE name = 'key1'").await;
    let found = difference().await.unwrap();
    assert_eq!((found.told, found.found.keys), (before.sum, 2));
    assert!(world.store.repair_sum().await.unwrap());
    let after = world.state().await;
    assert!(after.head.cursor.epoch > before.head.cursor.epoch);
    assert_eq!(after.sum, found.found);
    assert_eq!(difference().await, None);
    world.put(4).await;
    world.check_chain_and_digest().await;
}
