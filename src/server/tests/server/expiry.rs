//! Expiry of keys.

use pushkeys_feed::Event;
use reqwest::StatusCode;

use crate::service::{Account, Service, text};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

async fn expiry_in_list(service: &Service, account: &Account) -> Option<String> {
    let (_, keys) = service.get("/v2/self/keys", &account.bearer).await;
    keys[0].get("expires_at").map(|expiry| expiry.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_expiry_is_listed_sent_to_hosts_changed_and_removed() {
    let service = Service::start();
    let ana = service.account("ana");
    let host = service.host("push1");
    let mut changes = service.changes(&host, None).await;
    assert!(matches!(changes.next().await.unwrap().event, Ok(Event::Reset)));
    let steps = [
        ("k?expires_at=2997-01-31T12:00:00Z", Some("2997-01-31T12:00:00Z")),
        ("k?expires_at=2998-01-31T12%3A00%3A00%2B02%3A00", Some("2998-01-31T10:00:00Z")),
        // "Never", as many systems write it.
        ("k?expires_at=9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z")),
        ("k", None),
    ];
    let mut ids = Vec::new();
    for (name, expected) in steps {
        assert_eq!(service.put(&ana, name, KEY).await.0, StatusCode::OK, "{name}");
        assert_eq!(expiry_in_list(&service, &ana).await.as_deref(), expected);
        let Ok(Event::Put(entry)) = changes.next().await.unwrap().event else { panic!("no put") };
        assert_eq!(entry.expires_at.map(|expiry| expiry.to_string()).as_deref(), expected);
        ids.push(entry.key_id);
    }
    // It remains the same registration.
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn an_expiry_in_the_past_or_misspelt_is_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    let refusals = [
        ("k?expires_at=2001-01-31T12:00:00Z", "in the past"),
        ("k?expires_at=soon", "not a time such as"),
        ("k?expires_at=", "not a time such as"),
        ("k?expires_at=99999-01-31T12:00:00Z", "time"),
        ("k?expires_at=9999-12-31T23:59:59-01:00", "between 1970 and 9999, in UTC"),
        ("k?expire_at=2997-01-31T12:00:00Z", "not an expiry such as"),
        ("k?expires_at=2997-01-31T12:00:00Z&a=b", "not a time such as"),
    ];
    for (name, message) in refusals {
        let (status, body) = service.put(&ana, name, KEY).await;
        assert_eq!((status, &body["id"]), (StatusCode::BAD_REQUEST, &505.into()), "{name}");
        assert!(text(&body, "message").contains(message), "{body}");
    }
    assert_eq!(service.keys(&ana).await, []);
    assert_eq!(service.put(&ana, "k?expires_at=2997-01-31T12:00:00Z", KEY).await.0, StatusCode::OK);
}
