//! Host keys that hosts report, and which of them are published.

use std::collections::BTreeSet;

use pushkeys_keys::{Fingerprint, Policy, ValidKey};
use pushkeys_tests::{SyntheticKey, SyntheticKeys};

use super::{LIMITS, TestDatabase, on_both_databases};
use crate::push_host::PushHost;
use crate::secret::TokenDigest;
use crate::store::{HostId, HostName, NewHostCredential, Store, hosts_with_waiting_keys};

on_both_databases! {
    the_first_keys_of_a_name_are_published_and_others_wait_for_the_operator
    a_fleet_that_reports_for_the_first_time_publishes_nothing_by_itself
    no_report_takes_back_what_is_published_or_fills_the_table
    a_host_speaks_for_the_name_that_the_operator_gave_it_alone
}

fn keys(seed: u64, count: usize) -> Vec<ValidKey> {
    let check = |SyntheticKey { text, .. }: SyntheticKey| ValidKey::check(&text, &Policy::default()).unwrap();
    SyntheticKeys::new(seed).take(count).map(check).collect()
}

fn push() -> PushHost {
    "push.example.com".parse().unwrap()
}

async fn host(store: &Store, name: &str) -> HostId {
    let digest = TokenDigest::of(name);
    let name: HostName = name.parse().unwrap();
    store.add_host(&name, NewHostCredential::Token(digest)).await.unwrap()
}

/// The fingerprints that are published for `name`.
async fn published(store: &Store, name: &str) -> BTreeSet<String> {
    let keys = store.host_keys().await.unwrap();
    let of_name = keys.iter().filter(|key| key.push_host.to_string() == name && key.accepted_at.is_some());
    of_name.map(|key| key.fingerprint.to_string()).collect()
}

fn fingerprints(keys: &[ValidKey]) -> BTreeSet<String> {
    keys.iter().map(|key| key.fingerprint().to_string()).collect()
}

async fn the_first_keys_of_a_name_are_published_and_others_wait_for_the_operator(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let (first, own, foreign) = (host(&store, "push-1").await, keys(1, 2), keys(2, 1));
    let shown = store.report_host_keys(&first, &own, Some(&push())).await.unwrap();
    assert_eq!(
        (shown.push_host.as_deref(), shown.new.len(), shown.waiting),
        (Some("push.example.com"), 2, vec![])
    );
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&own));

    // A stolen token publishes nothing, be it of this host or of another.
    let second = host(&store, "push-2").await;
    for thief in [&first, &second] {
        let both = [own.clone(), foreign.clone()].concat();
        let shown = store.report_host_keys(thief, &both, Some(&push())).await.unwrap();
        assert_eq!(shown.waiting, [foreign[0].fingerprint()]);
        assert_eq!(published(&store, "push.example.com").await, fingerprints(&own));
    }
    let listed = store.host_keys().await.unwrap();
    assert_eq!(hosts_with_waiting_keys(&listed), ["push-1", "push-2"].into());
    assert_eq!(store.host_keys_waiting().await.unwrap(), 1);

    assert!(store.accept_host_key(&foreign[0].fingerprint()).await.unwrap());
    assert!(!store.accept_host_key(&foreign[0].fingerprint()).await.unwrap(), "it no longer waits");
    assert!(!store.accept_host_key(&Fingerprint::of(b"unknown")).await.unwrap());
    let all = [own.clone(), foreign.clone()].concat();
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&all));

    // The end of a rotation.
    for host in [&first, &second] {
        assert_eq!(store.report_host_keys(host, &foreign, Some(&push())).await.unwrap().waiting, []);
    }
    for key in &own {
        assert!(store.withdraw_host_key(&key.fingerprint()).await.unwrap());
    }
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&foreign));
    assert_eq!(store.host_keys().await.unwrap().len(), 1, "withdrawn keys that no host has are not listed");

    // The only host of a name that has had a key has to wait for the operator, too.
    store.revoke_host(&"push-2".parse().unwrap()).await.unwrap();
    assert!(store.withdraw_host_key(&foreign[0].fingerprint()).await.unwrap());
    let stolen = keys(3, 1);
    let shown = store.report_host_keys(&first, &stolen, Some(&push())).await.unwrap();
    assert_eq!(shown.waiting, [stolen[0].fingerprint()]);
    assert!(published(&store, "push.example.com").await.is_empty());
}

async fn a_fleet_that_reports_for_the_first_time_publishes_nothing_by_itself(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let (first, second, shared) = (host(&store, "push-1").await, host(&store, "push-2").await, keys(1, 1));
    for host in [&first, &second] {
        let shown = store.report_host_keys(host, &shared, Some(&push())).await.unwrap();
        assert_eq!(shown.waiting, [shared[0].fingerprint()]);
    }
    assert!(published(&store, "push.example.com").await.is_empty());
    assert!(store.accept_host_key(&shared[0].fingerprint()).await.unwrap());
    assert_eq!(store.report_host_keys(&second, &shared, Some(&push())).await.unwrap().waiting, []);
}

async fn no_report_takes_back_what_is_published_or_fills_the_table(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let (host, own) = (host(&store, "push-1").await, keys(1, 1));
    store.report_host_keys(&host, &own, Some(&push())).await.unwrap();
    for seed in 2..12 {
        store.report_host_keys(&host, &keys(seed, 3), Some(&push())).await.unwrap();
    }
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&own));
    assert_eq!(
        store.host_keys().await.unwrap().len(),
        4,
        "the published key, and the keys that the host has now"
    );
    store.report_host_keys(&host, &[], Some(&push())).await.unwrap();
    assert_eq!(store.host_keys().await.unwrap().len(), 1);
    store.revoke_host(&"push-1".parse().unwrap()).await.unwrap();
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&own));
    assert_eq!(store.report_host_keys(&host, &keys(3, 1), Some(&push())).await.unwrap().push_host, None);

    // A withdrawn key that a host still has waits again.
    let other = self::host(&store, "push-2").await;
    store.report_host_keys(&other, &own, Some(&push())).await.unwrap();
    assert!(store.withdraw_host_key(&own[0].fingerprint()).await.unwrap());
    assert_eq!(store.host_keys_waiting().await.unwrap(), 1);
}

async fn a_host_speaks_for_the_name_that_the_operator_gave_it_alone(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let (paris, oslo) = (host(&store, "paris").await, host(&store, "oslo").await);
    let (of_paris, of_oslo): (PushHost, PushHost) =
        ("paris.example.com".parse().unwrap(), "oslo.example.com:2222".parse().unwrap());
    assert!(store.set_push_host(&"paris".parse().unwrap(), Some(&of_paris)).await.unwrap());
    assert!(store.set_push_host(&"oslo".parse().unwrap(), Some(&of_oslo)).await.unwrap());
    assert!(!store.set_push_host(&"bergen".parse().unwrap(), Some(&of_oslo)).await.unwrap());
    let (first, second) = (keys(1, 1), keys(2, 1));
    store.report_host_keys(&paris, &first, Some(&push())).await.unwrap();
    store.report_host_keys(&oslo, &second, None).await.unwrap();
    assert_eq!(published(&store, "paris.example.com").await, fingerprints(&first));
    assert_eq!(published(&store, "oslo.example.com:2222").await, fingerprints(&second));
    assert!(published(&store, "push.example.com").await.is_empty());

    assert!(store.set_push_host(&"oslo".parse().unwrap(), None).await.unwrap());
    assert_eq!(
        store.report_host_keys(&oslo, &second, None).await.unwrap().push_host,
        None,
        "no name is known"
    );
    assert_eq!(store.report_host_keys(&oslo, &second, Some(&push())).await.unwrap().waiting, []);
    assert_eq!(published(&store, "push.example.com").await, fingerprints(&second));
}
