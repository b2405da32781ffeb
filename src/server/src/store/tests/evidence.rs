//! What an account can see of changes of which one client made very many.

use pushkeys_keys::AccountName;

use super::{LIMITS, TestDatabase, on_both_databases};
use crate::database::sql;
use crate::store::{Actor, AuditEvent, StoreLimits, Via};

on_both_databases! {
    what_a_token_does_again_and_again_hides_nothing_that_it_did
}

async fn what_a_token_does_again_and_again_hides_nothing_that_it_did(database: TestDatabase) {
    const CYCLES: u64 = 700;
    let store = database.open(StoreLimits { sends_mail: true, ..LIMITS }).await;
    let email = "ana@example.com".parse().unwrap();
    let ana = store.add_account(&AccountName::parse("ana").unwrap(), Some(&email), None).await.unwrap();
    let number: i64 = sql("SELECT number FROM accounts").fetch_value(&store.database).await.unwrap();
    let thief = Actor { via: Via::Token(Some("ci".into())), address: None, request: None };
    let mut transaction = store.begin_write().await.unwrap();
    let mut changes = vec![(AuditEvent::KeyAdded, "backdoor".to_owned())];
    for cycle in 0..CYCLES {
        changes
            .extend([AuditEvent::KeyAdded, AuditEvent::KeyRemoved].map(|event| (event, format!("k{cycle}"))));
    }
    changes.push((AuditEvent::TokenAdded, "mine".to_owned()));
    for (event, subject) in &changes {
        store.record(&mut transaction, number, &thief, *event, subject).await.unwrap();
    }
    store.commit(transaction).await.unwrap();

    let rows = store.audit(&ana, None, 10_000).await.unwrap();
    let told: u64 = rows.iter().map(|row| 1 + row.repeats).sum();
    assert_eq!(told, changes.len() as u64, "every change is told");
    assert!(rows.len() < 1_010, "{}", rows.len());
    let is_shown =
        |event, subject| rows.iter().any(|row| (row.event, row.subject.as_str()) == (event, subject));
    assert!(is_shown(AuditEvent::KeyAdded, "backdoor") && is_shown(AuditEvent::TokenAdded, "mine"));

    let (mails, repeats): (i64, i64) = sql("SELECT count(*), CAST(sum(repeats) AS BIGINT) FROM mails")
        .fetch_one(&store.database)
        .await
        .unwrap();
    assert_eq!(u64::try_from(mails + repeats).unwrap(), changes.len() as u64, "mails tell of every change");
    assert!(mails < 30, "{mails}");
    let due = "SELECT count(*) FROM mails WHERE due_at = created_at AND (subject = 'backdoor' OR event = 'token_added')";
    let due: i64 = sql(due).fetch_value(&store.database).await.unwrap();
    assert_eq!(due, 2, "those that matter are sent at once");
}
