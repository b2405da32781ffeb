//! Type and size of keys that were stored by this version and by an older one.

use pushkeys_keys::{AccountName, KeyName, Policy, ValidKey};

use super::{KEY, LIMITS, TestDatabase, on_both_databases};
use crate::database::sql;
use crate::store::{Actor, KeyToPut, Store};

on_both_databases! {
    facts_are_stored_with_a_key_and_filled_in_for_keys_of_an_older_version
}

async fn shown(store: &Store, account: &pushkeys_keys::AccountId) -> Vec<(String, String, Option<u64>)> {
    let keys = store.keys(account).await.unwrap();
    keys.into_iter().map(|key| (key.name, key.algorithm, key.bits)).collect()
}

async fn facts_are_stored_with_a_key_and_filled_in_for_keys_of_an_older_version(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let ana = store.add_account(&AccountName::parse("ana").unwrap(), None, None).await.unwrap();
    let rsa = pushkeys_tests::Key::generate(&["-t", "rsa", "-b", "3072"]);
    let policy = Policy::default();
    for (name, text) in [("ed25519", KEY), ("rsa", rsa.text())] {
        let (name, key) = (KeyName::parse(name).unwrap(), ValidKey::check(text, &policy).unwrap());
        let wanted = KeyToPut { name: &name, key: &key, text, expires_at: None, may_replace: false };
        store.put_key(&ana, &wanted, &Actor::operator()).await.unwrap();
    }
    let known = |name: &str, algorithm: &str, bits| (name.to_owned(), algorithm.to_owned(), bits);
    let whole = [known("ed25519", "ssh-ed25519", Some(256)), known("rsa", "ssh-rsa", Some(3072))];
    assert_eq!(shown(&store, &ana).await, whole);
    assert_eq!(store.fill_key_facts(&policy).await.unwrap(), 0);

    sql("UPDATE keys SET algorithm = NULL, bits = NULL").execute(&store.database).await.unwrap();
    let named = [known("ed25519", "ssh-ed25519", None), known("rsa", "ssh-rsa", None)];
    assert_eq!(shown(&store, &ana).await, named, "the type is in the text");
    assert_eq!(store.fill_key_facts(&policy).await.unwrap(), 2);
    assert_eq!(shown(&store, &ana).await, whole);
    assert_eq!(store.fill_key_facts(&policy).await.unwrap(), 0);

    // A key that the policy no longer accepts.
    sql("UPDATE keys SET algorithm = NULL, bits = NULL, text = 'ssh-dss AAAA' WHERE name = 'rsa'")
        .execute(&store.database)
        .await
        .unwrap();
    assert_eq!(store.fill_key_facts(&policy).await.unwrap(), 1);
    assert_eq!(shown(&store, &ana).await, [whole[0].clone(), known("rsa", "ssh-dss", None)]);
    assert_eq!(store.fill_key_facts(&policy).await.unwrap(), 0);
}
