//! Links to external accounts, imports, and queued mails.

use std::time::Duration;

use pushkeys_keys::{AccountId, AccountName, KeyName, Policy, ValidKey};

use super::{KEY, LIMITS, TestDatabase, on_both_databases};
use crate::store::{
    Actor, AuditEvent, Email, GithubLink, GithubOrigin, Identity, ImportItem, ImportMode, ImportOutcome,
    KeyFromGithub, KeyToPut, PutKeyError, SetIdentityError, Store, StoreLimits,
};

const SENDING: StoreLimits = StoreLimits { sends_mail: true, ..LIMITS };
const LEASE: Duration = Duration::from_mins(1);

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn account_name(text: &str) -> AccountName {
    AccountName::parse(text).unwrap()
}

async fn account(store: &Store, called: &str, email: Option<&str>) -> AccountId {
    let email = email.map(|email| email.parse::<Email>().unwrap());
    store.add_account(&account_name(called), email.as_ref(), None).await.unwrap()
}

fn link(user: i64, login: &str) -> GithubLink {
    GithubLink { user, login: login.into(), encrypted_token: vec![1, 2, 3] }
}

fn identity(subject: &str) -> Identity {
    let issuer = "https://id.example.com".to_owned();
    Identity { issuer, subject: subject.into(), name: Some("ana".into()), email: None }
}

on_both_databases! {
    an_account_is_linked_to_one_github_account_and_remembers_which_keys_came_from_it
    an_identity_opens_one_account_and_no_other_gets_it
    a_change_leaves_a_mail_that_one_sender_gets_until_it_is_dropped
    the_queue_is_bounded_for_each_account_and_empty_where_no_mail_is_sent
    an_import_is_one_transaction_with_a_row_for_each_key_and_one_mail
    an_operators_import_is_in_the_trail_and_tells_an_account_with_an_address_once
}

async fn an_account_is_linked_to_one_github_account_and_remembers_which_keys_came_from_it(
    database: TestDatabase,
) {
    let store = database.open(LIMITS).await;
    let (ana, actor) = (account(&store, "ana", None).await, Actor::operator());
    assert!(store.github_link(&ana).await.unwrap().is_none());
    assert!(store.set_github_link(&ana, &link(7, "ana-codes"), &actor).await.unwrap());
    assert!(store.set_github_link(&ana, &link(8, "ana-works"), &actor).await.unwrap());
    assert!(store.github_link(&ana).await.unwrap().unwrap() == link(8, "ana-works"));

    let key = ValidKey::check(KEY, &Policy::default()).unwrap();
    let laptop = name("laptop");
    let import = async || {
        let keys = [KeyFromGithub { name: &laptop, key: &key, github_key: 42 }];
        let origin = GithubOrigin { user: 8, login: "ana-works".into() };
        let imported = store.import_from_github(&ana, &origin, &keys, &actor).await.unwrap();
        assert_eq!((imported.changes.len(), imported.refused.len()), (1, 0));
    };
    let imported = async |user: i64| store.keys_from_github(&ana, user).await.unwrap().len();
    import().await;
    assert_eq!((imported(8).await, imported(7).await), (1, 0));
    // Registered again by hand, it is another registration.
    store.remove_key(&ana, laptop.as_str(), &actor).await.unwrap();
    let wanted = KeyToPut { name: &laptop, key: &key, text: KEY, expires_at: None, may_replace: false };
    store.put_key(&ana, &wanted, &actor).await.unwrap();
    assert_eq!(imported(8).await, 0);
    store.remove_key(&ana, laptop.as_str(), &actor).await.unwrap();
    import().await;
    assert_eq!(imported(8).await, 1);

    assert!(store.remove_github_link(&ana, &actor).await.unwrap().is_some());
    assert!(store.remove_github_link(&ana, &actor).await.unwrap().is_none());
    let activity = store.audit(&ana, None, 10).await.unwrap();
    let links = activity.iter().filter(|row| row.event == AuditEvent::LinkAdded).count();
    assert_eq!(
        (links, activity[0].event, activity[0].subject.as_str()),
        (2, AuditEvent::LinkRemoved, "ana-works (GitHub)")
    );
}

async fn an_identity_opens_one_account_and_no_other_gets_it(database: TestDatabase) {
    let store = database.open(LIMITS).await;
    let (ana, bob) = (account(&store, "ana", None).await, account(&store, "bob", None).await);
    let actor = Actor::operator();
    store.set_identity(&ana, &identity("u-7"), &actor).await.unwrap();
    let refused = store.set_identity(&bob, &identity("u-7"), &actor).await;
    assert!(matches!(refused, Err(SetIdentityError::OfAnotherAccount)), "{refused:?}");
    assert_eq!(store.account_by_identity(&identity("u-7")).await.unwrap(), Some(ana.clone()));
    // The refusal left nothing, and another user of the provider replaces the first.
    assert_eq!(store.identity(&bob, "https://id.example.com").await.unwrap(), None);
    store.set_identity(&ana, &identity("u-8"), &actor).await.unwrap();
    assert_eq!(store.account_by_identity(&identity("u-7")).await.unwrap(), None);

    let taken = store.add_account_of_identity(&account_name("bob"), &identity("u-9"), &actor).await;
    assert!(matches!(taken, Err(SetIdentityError::NameTaken { .. })), "{taken:?}");
    let carol =
        store.add_account_of_identity(&account_name("carol"), &identity("u-9"), &actor).await.unwrap();
    assert_eq!(store.account_by_identity(&identity("u-9")).await.unwrap(), Some(carol.clone()));
    let only = store.remove_identity(&carol, "https://id.example.com", &actor).await;
    assert!(matches!(only, Err(SetIdentityError::OnlyWay)), "{only:?}");
    store.set_password(&carol, "$argon2id$", None, &actor).await.unwrap();
    assert!(store.remove_identity(&carol, "https://id.example.com", &actor).await.unwrap());
}

async fn a_change_leaves_a_mail_that_one_sender_gets_until_it_is_dropped(database: TestDatabase) {
    let store = database.open(SENDING).await;
    let (ana, bob) =
        (account(&store, "ana", Some("ana@example.com")).await, account(&store, "bob", None).await);
    let actor = Actor::console(Some("192.0.2.7".parse().unwrap()), None);
    store.set_language(&ana, "fr").await.unwrap();
    store.set_password(&ana, "$argon2id$", None, &actor).await.unwrap();
    store.set_password(&bob, "$argon2id$", None, &actor).await.unwrap();

    let mail = store.take_mail(LEASE).await.unwrap().unwrap();
    assert_eq!((mail.recipient.as_str(), mail.account_name.as_str()), ("ana@example.com", "ana"));
    assert_eq!((mail.language.as_deref(), mail.attempts), (Some("fr"), 1));
    assert_eq!((mail.change.event, &mail.change.actor), (AuditEvent::PasswordChanged, &actor));
    assert_eq!(store.take_mail(LEASE).await.unwrap(), None, "nobody else gets it, and bob has no address");

    store.delay_mail(&mail.id, mail.attempts, Duration::ZERO).await.unwrap();
    let again = store.take_mail(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((&again.id, again.attempts), (&mail.id, 2));
    store.remove_mail(&mail.id).await.unwrap();
    assert_eq!(store.take_mail(LEASE).await.unwrap(), None);
}

async fn the_queue_is_bounded_for_each_account_and_empty_where_no_mail_is_sent(database: TestDatabase) {
    let (sending, silent) = (database.open(SENDING).await, database.open(LIMITS).await);
    let ana = account(&sending, "ana", Some("ana@example.com")).await;
    let actor = Actor::operator();
    silent.set_password(&ana, "$argon2id$", None, &actor).await.unwrap();
    assert_eq!(sending.take_mail(LEASE).await.unwrap(), None);
    for _ in 0..110 {
        sending.set_password(&ana, "$argon2id$", None, &actor).await.unwrap();
    }
    let (mut waiting, mut told) = (0, 0);
    while let Some(mail) = sending.take_mail(LEASE).await.unwrap() {
        waiting += 1;
        told += 1 + mail.change.repeats;
    }
    assert_eq!((waiting, told), (20, 110), "the last one tells of all that follow");
}

async fn an_import_is_one_transaction_with_a_row_for_each_key_and_one_mail(database: TestDatabase) {
    let store = database.open(SENDING).await;
    let (ana, bob) =
        (account(&store, "ana", Some("ana@example.com")).await, account(&store, "bob", None).await);
    let texts: Vec<_> = pushkeys_tests::SyntheticKeys::new(3).take(4).map(|key| key.text).collect();
    let keys: Vec<_> = texts.iter().map(|text| ValidKey::check(text, &Policy::default()).unwrap()).collect();
    let names = ["a", "b", "c", "d"].map(name);
    let actor = Actor::console(None, None);
    let taken =
        KeyToPut { name: &names[3], key: &keys[3], text: &texts[3], expires_at: None, may_replace: false };
    store.put_key(&bob, &taken, &actor).await.unwrap();

    let listed: Vec<_> = names
        .iter()
        .zip(&keys)
        .zip(1..)
        .map(|((name, key), github_key)| KeyFromGithub { name, key, github_key })
        .collect();
    let origin = GithubOrigin { user: 7, login: "ana-codes".into() };
    let imported = store.import_from_github(&ana, &origin, &listed, &actor).await.unwrap();
    assert_eq!(imported.changes.len(), 3);
    assert!(matches!(imported.refused.as_slice(), [(3, PutKeyError::OfAnotherAccount)]));
    assert_eq!(store.keys_from_github(&ana, 7).await.unwrap().len(), 3);
    assert_eq!(store.warnings(&ana).await.unwrap().len(), 1);
    let activity = store.audit(&ana, None, 10).await.unwrap();
    let activity: Vec<_> = activity.iter().rev().map(|row| (row.event, row.subject.as_str())).collect();
    let added = |name| (AuditEvent::KeyAdded, name);
    let expected = [
        added("a"),
        added("b"),
        added("c"),
        (AuditEvent::KeyContested, "d"),
        (AuditEvent::KeysImported, "a, b, c (GitHub: ana-codes)"),
    ];
    assert_eq!(activity, expected);
    let mail = store.take_mail(LEASE).await.unwrap().unwrap();
    assert_eq!((mail.change.event, mail.change.subject.as_str()), expected[4]);
    assert_eq!(store.take_mail(LEASE).await.unwrap(), None, "one mail for all");
}

async fn an_operators_import_is_in_the_trail_and_tells_an_account_with_an_address_once(
    database: TestDatabase,
) {
    let store = database.open(SENDING).await;
    let ana = account(&store, "ana", Some("ana@example.com")).await;
    let items: Vec<_> = pushkeys_tests::SyntheticKeys::new(4)
        .take(5)
        .zip(["ana", "ana", "bob", "ana", "bob"])
        .zip(["a", "b", "c", "a", "d"])
        .map(|((key, owner), called)| {
            let valid = ValidKey::check(&key.text, &Policy::default()).unwrap();
            ImportItem {
                account: account_name(owner),
                name: name(called),
                fallback: None,
                key: valid,
                text: key.text,
                expires_at: None,
            }
        })
        .collect();
    let outcomes =
        store.import(&items, ImportMode { creates_accounts: true, is_dry_run: false }).await.unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ImportOutcome::Stored).count(), 4);
    let activity = store.audit(&ana, None, 10).await.unwrap();
    let activity: Vec<_> = activity.iter().rev().map(|row| (row.event, row.subject.as_str())).collect();
    let expected =
        [(AuditEvent::KeyAdded, "a"), (AuditEvent::KeyAdded, "b"), (AuditEvent::KeysImported, "a, b")];
    assert_eq!(activity, expected);
    let bob = store.account("bob").await.unwrap().unwrap().id;
    assert_eq!(store.audit(&bob, None, 10).await.unwrap().len(), 2);
    let mail = store.take_mail(LEASE).await.unwrap().unwrap();
    assert_eq!((mail.change.event, mail.change.actor), (AuditEvent::KeysImported, Actor::operator()));
    assert_eq!(store.take_mail(LEASE).await.unwrap(), None);
}
