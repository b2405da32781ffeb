//! Keys, changes and snapshots with several writers.

use std::collections::HashSet;
use std::sync::Arc;

use pushkeys_keys::{AccountId, AccountName, KeyName, Policy, ValidKey};
use tokio::task::JoinSet;

use super::{KEY, LIMITS, TestDatabase, on_both_databases};
use crate::store::changes::KeyChange;
use crate::store::{Actor, Changes, KeyToPut, PutKeyError, Snapshot, Store, StoreLimits};

async fn account(store: &Store, name: &str) -> AccountId {
    store.add_account(&AccountName::parse(name).unwrap(), None, None).await.unwrap()
}

fn key() -> ValidKey {
    ValidKey::check(KEY, &Policy::default()).unwrap()
}

async fn put(store: &Store, account: &AccountId, name: &KeyName) -> Result<Vec<KeyChange>, PutKeyError> {
    let wanted = KeyToPut { name, key: &key(), text: KEY, expires_at: None, may_replace: true };
    store.put_key(account, &wanted, &Actor::operator()).await
}

on_both_databases! {
    of_many_accounts_that_register_one_key_at_once_exactly_one_gets_it
    changes_of_many_writers_are_numbered_without_a_hole
    a_snapshot_does_not_see_what_is_written_after_it_began
    old_changes_are_dropped_and_a_reader_is_told_so
    names_that_are_sql_are_names
}

async fn of_many_accounts_that_register_one_key_at_once_exactly_one_gets_it(database: TestDatabase) {
    // To the database, two stores are two processes.
    let stores = [Arc::new(database.open(LIMITS).await), Arc::new(database.open(LIMITS).await)];
    let mut attempts = JoinSet::new();
    for number in 0..40 {
        let store = stores[number % 2].clone();
        let id = account(&store, &format!("account{number}")).await;
        attempts.spawn(async move {
            let name = KeyName::parse("laptop").unwrap();
            (put(&store, &id, &name).await, id)
        });
    }
    let (mut winners, mut refused) = (Vec::new(), 0);
    for (outcome, id) in attempts.join_all().await {
        match outcome {
            Ok(changes) => winners.push((id, changes)),
            Err(PutKeyError::OfAnotherAccount) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 39);
    let [(winner, changes)] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!(changes.len(), 1);
    assert_eq!(stores[0].keys(winner).await.unwrap().len(), 1);
    let mut snapshot = stores[0].snapshot().await.unwrap();
    assert_eq!(snapshot.next_page(10).await.unwrap().unwrap().count, 1);
    assert!(snapshot.next_page(10).await.unwrap().is_none());
}

async fn changes_of_many_writers_are_numbered_without_a_hole(database: TestDatabase) {
    let stores = [Arc::new(database.open(LIMITS).await), Arc::new(database.open(LIMITS).await)];
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let store = stores[number % 2].clone();
        let id = account(&store, &format!("account{number}")).await;
        writers.spawn(async move {
            let name = KeyName::parse("laptop").unwrap();
            let mut sequences = Vec::new();
            for _ in 0..10 {
                // All of them register the same key, so that there are refusals and rollbacks in between.
                if let Ok(changes) = put(&store, &id, &name).await {
                    sequences.extend(changes.iter().map(|change| change.sequence));
                    sequences.extend(
                        store
                            .remove_key(&id, name.as_str(), &Actor::operator())
                            .await
                            .unwrap()
                            .map(|change| change.sequence),
                    );
                }
            }
            sequences
        });
    }
    let numbers: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len());
    let Changes::Next(changes) = stores[0].changes_after(0, 1_000).await.unwrap() else { panic!("pruned") };
    let sequences: Vec<u64> = changes.iter().map(|change| change.sequence).collect();
    assert!(!sequences.is_empty());
    assert_eq!(sequences, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

fn sequence(snapshot: &Snapshot) -> u64 {
    snapshot.header().position.cursor.sequence
}

async fn a_snapshot_does_not_see_what_is_written_after_it_began(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let id = account(&store, "ana").await;
    let name = KeyName::parse("laptop").unwrap();
    put(&store, &id, &name).await.unwrap();
    let mut before = store.snapshot().await.unwrap();
    store.remove_key(&id, name.as_str(), &Actor::operator()).await.unwrap();
    let mut after = store.snapshot().await.unwrap();
    assert_eq!((sequence(&before), sequence(&after)), (1, 2));
    assert_eq!(before.next_page(10).await.unwrap().unwrap().count, 1);
    assert!(after.next_page(10).await.unwrap().is_none());
}

async fn old_changes_are_dropped_and_a_reader_is_told_so(database: TestDatabase) {
    let store = database.open(StoreLimits { changes_max: 3, ..LIMITS }).await;
    let id = account(&store, "ana").await;
    let name = KeyName::parse("laptop").unwrap();
    for _ in 0..3 {
        put(&store, &id, &name).await.unwrap();
        store.remove_key(&id, name.as_str(), &Actor::operator()).await.unwrap();
    }
    let state = store.feed_state().await.unwrap();
    assert_eq!((state.pruned, state.head.cursor.sequence), (3, 6));
    assert_eq!(store.changes_after(2, 10).await.unwrap(), Changes::Pruned);
    let Changes::Next(kept) = store.changes_after(3, 10).await.unwrap() else { panic!("pruned") };
    assert_eq!(kept.iter().map(|change| change.sequence).collect::<Vec<_>>(), [4, 5, 6]);
    assert_eq!(store.changes_after(6, 10).await.unwrap(), Changes::Next(Vec::new()));
}

async fn names_that_are_sql_are_names(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let hostile = "x'); DROP TABLE keys; --\"`";
    let id = account(&store, hostile).await;
    let name = KeyName::parse(hostile).unwrap();
    put(&store, &id, &name).await.unwrap();
    assert_eq!(store.keys(&id).await.unwrap()[0].name, hostile);
    assert_eq!(store.account(hostile).await.unwrap().unwrap().id, id);
}
