//! Reports of hosts.

use pushkeys_keys::{Fingerprint, Policy, ValidKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Account, Service, new_key, text};

/// The response to a host's report.
pub(crate) async fn report(service: &Service, host: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let response = service.request(Method::POST, path, host).json(body).send().await.unwrap();
    (response.status(), response.json().await.unwrap_or(Value::Null))
}

pub(crate) fn fingerprint(key: &str) -> Fingerprint {
    ValidKey::check(key, &Policy::default()).unwrap().fingerprint()
}

/// The key's id in the snapshot.
pub(crate) async fn key_id(service: &Service, host: &str, fingerprint: Fingerprint) -> String {
    let response = service.request(Method::GET, pushkeys_feed::SNAPSHOT_PATH, host).send().await.unwrap();
    let snapshot = response.text().await.unwrap();
    let line = snapshot.lines().find(|line| line.contains(&fingerprint.to_string())).unwrap();
    text(&serde_json::from_str(line).unwrap(), "key_id")
}

async fn row(service: &Service, account: &Account) -> Value {
    service.get("/v2/self/keys", &account.bearer).await.1[0].clone()
}

pub(crate) fn used(fingerprint: Fingerprint, key_id: &str, kind: &str, at: &str) -> Value {
    json!({ "uses": [{ "fingerprint": fingerprint.to_string(), "key_id": key_id, "kind": kind, "at": at }] })
}

#[tokio::test]
async fn the_last_use_and_the_last_check_are_recorded_from_reports() {
    let service = Service::start();
    let (ana, push1, push2) = (service.account("ana"), service.host("push1"), service.host("push2"));
    let key = new_key(&service, "laptop");
    service.put(&ana, "laptop", &key).await;
    let fingerprint = fingerprint(&key);
    let id = key_id(&service, &push1, fingerprint).await;
    assert_eq!(row(&service, &ana).await.get("last_used_at"), None);

    let path = pushkeys_feed::USAGE_PATH;
    let check = used(fingerprint, &id, "check", "2026-01-01T10:00:00Z");
    let (status, answer) = report(&service, &push1, path, &check).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "recorded": 1 })));
    let push = used(fingerprint, &id, "push", "2026-01-01T11:00:00Z");
    report(&service, &push2, path, &push).await;
    let expected = json!(["2026-01-01T11:00:00Z", "push2", "2026-01-01T10:00:00Z", "push1"]);
    let dates = |row: &Value| {
        json!([row["last_used_at"], row["last_used_host"], row["last_checked_at"], row["last_checked_host"]])
    };
    assert_eq!(dates(&row(&service, &ana).await), expected);

    // An older use, or one of another registration or of an unknown key, changes nothing.
    for (fingerprint, id, at) in [
        (fingerprint, id.as_str(), "2026-01-01T10:30:00Z"),
        (fingerprint, "key_other", "2026-01-02T10:00:00Z"),
        (Fingerprint::of(b"nobody's"), id.as_str(), "2026-01-02T10:00:00Z"),
    ] {
        let (status, answer) = report(&service, &push1, path, &used(fingerprint, id, "fetch", at)).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({ "recorded": 0 })));
    }
    assert_eq!(dates(&row(&service, &ana).await), expected);

    // A host whose clock is ahead cannot set dates in the future.
    report(&service, &push1, path, &used(fingerprint, &id, "push", "2997-01-01T10:00:00Z")).await;
    let at: jiff::Timestamp = text(&row(&service, &ana).await, "last_used_at").parse().unwrap();
    assert!(at <= jiff::Timestamp::now(), "{at}");

    // A new registration was not used.
    service.delete(&ana, "laptop").await;
    service.put(&ana, "laptop", &key).await;
    assert_eq!(row(&service, &ana).await.get("last_used_at"), None);
}

#[tokio::test]
async fn a_malformed_report_is_refused() {
    let service = Service::start();
    let (ana, host) = (service.account("ana"), service.host("push1"));
    let what = json!({ "fingerprint": Fingerprint::of(b"ana").to_string() });
    let one = json!({ "what": what, "since": "2026-01-01T10:00:00Z" });
    for (path, body) in [
        (pushkeys_feed::USAGE_PATH, json!([])),
        (pushkeys_feed::USAGE_PATH, json!({ "uses": [{}] })),
        (pushkeys_feed::USAGE_PATH, used(Fingerprint::of(b"ana"), "../x", "check", "2026-01-01T10:00:00Z")),
        (pushkeys_feed::REVOKED_PATH, json!({ "revoked": vec![one.clone(); 2] })),
        (
            pushkeys_feed::REVOKED_PATH,
            json!({ "revoked": [{ "what": { "login": "git" }, "since": "2026-01-01T10:00:00Z" }] }),
        ),
    ] {
        assert_eq!(report(&service, &host, path, &body).await.0, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(report(&service, &ana.bearer, path, &body).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    // The service may close the connection before all of it was sent.
    let too_long = json!({ "revoked": [], "padding": "x".repeat(pushkeys_feed::REPORT_BYTES_MAX) });
    let sent = service.request(Method::POST, pushkeys_feed::REVOKED_PATH, &host).json(&too_long).send().await;
    assert!(sent.is_err() || sent.is_ok_and(|response| response.status() == StatusCode::PAYLOAD_TOO_LARGE));
    let good = json!({ "revoked": [one] });
    let (status, answer) = report(&service, &host, pushkeys_feed::REVOKED_PATH, &good).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "answers": ["settled"] })));
}

/// Three keys of two accounts, and a host that has revoked the first of them and the second account.
struct Revoked {
    service: Service,
    ana: Account,
    bob: Account,
    host: String,
    keys: Vec<String>,
}

impl Revoked {
    async fn new() -> Self {
        let service = Service::start();
        let (ana, bob, host) = (service.account("ana"), service.account("bob"), service.host("push1"));
        let keys: Vec<String> = ["a", "b", "c"].map(|name| new_key(&service, name)).into();
        service.put(&ana, "a", &keys[0]).await;
        service.put(&bob, "b", &keys[1]).await;
        service.put(&bob, "c", &keys[2]).await;
        Self { service, ana, bob, host, keys }
    }

    async fn reports(&self) -> Value {
        let what = [
            json!({ "fingerprint": fingerprint(&self.keys[0]).to_string() }),
            json!({ "account": self.bob.id }),
        ];
        let revoked: Vec<Value> =
            what.iter().map(|what| json!({ "what": what, "since": "2026-01-01T10:00:00Z" })).collect();
        report(&self.service, &self.host, pushkeys_feed::REVOKED_PATH, &json!({ "revoked": revoked })).await.1
            ["answers"]
            .clone()
    }

    fn listed(&self) -> Vec<Value> {
        let output = self.service.command(&["revocation", "list"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_revocation_on_one_host_does_not_affect_the_others_and_is_listed() {
    let world = Revoked::new().await;
    assert_eq!(world.reports().await, json!(["pending", "pending"]));
    assert_eq!(world.reports().await, json!(["pending", "pending"]), "a repeated report changes nothing");
    assert_eq!(world.listed().len(), 2);
    assert_eq!(row(&world.service, &world.ana).await["revoked_on"], json!(["push1"]));
    assert_eq!(world.service.keys(&world.bob).await.len(), 2);
    let (_, keys) = world.service.get("/v2/self/keys", &world.bob.bearer).await;
    assert_eq!((&keys[0]["revoked_on"], &keys[1]["revoked_on"]), (&json!(["push1"]), &json!(["push1"])));

    // A revocation that a host no longer reports was undone.
    report(&world.service, &world.host, pushkeys_feed::REVOKED_PATH, &json!({ "revoked": [] })).await;
    assert!(world.listed().is_empty());
    assert_eq!(row(&world.service, &world.ana).await.get("revoked_on"), None);

    // Revoking the host removes its reports.
    world.reports().await;
    world.service.ask(&["host", "revoke", "push1"]);
    assert!(world.listed().is_empty());
}

#[tokio::test]
async fn the_operator_confirms_or_dismisses_a_revocation_of_a_host() {
    let world = Revoked::new().await;
    world.reports().await;
    let ids: Vec<String> = world.listed().iter().map(|row| text(row, "id")).collect();
    world.service.ask(&["revocation", "dismiss", &ids[0]]);
    assert_eq!(world.reports().await, json!(["dismissed", "pending"]));
    let confirmed = world.service.ask(&["revocation", "confirm", &ids[1]]);
    assert_eq!(confirmed["removed"].as_array().unwrap().len(), 2);
    assert_eq!(world.reports().await, json!(["dismissed", "settled"]));
    assert!(world.service.keys(&world.bob).await.is_empty());
    assert_eq!(world.service.keys(&world.ana).await.len(), 1);
    let (status, _) = world.service.put(&world.bob, "b", &world.keys[1]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a confirmed key cannot be registered again");

    // The account may remove the key itself.
    world.service.delete(&world.ana, "a").await;
    assert_eq!(world.reports().await, json!(["settled", "settled"]));
    assert!(world.listed().is_empty());
    assert!(!world.service.command(&["revocation", "confirm", &ids[0]]).status.success());
    assert!(!world.service.command(&["revocation", "dismiss", "rvk_x"]).status.success());
}
