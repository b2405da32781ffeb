//! Acknowledgements of hosts: as operators list them, and as clients wait for them.

#![expect(clippy::expect_used, reason = "a helper that cannot go on fails its test")]

use std::process::Command;
use std::time::{Duration, Instant};

use pushkeys_tests::{Account, Key, PostgresDatabase, PushHost, Service, Visitor, run, until};
use serde_json::Value;

/// The hosts as `pushkeys-server host list --json` lists them.
fn hosts(service: &Service) -> Vec<Value> {
    let text = service.administers(&["host", "list", "--json"]).output();
    text.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
}

/// The number of connected hosts, and of those that have applied the last change.
fn connected(service: &Service) -> (usize, usize) {
    let hosts = hosts(service);
    let connected = hosts.iter().filter(|host| host["connected"] == true);
    (connected.clone().count(), connected.filter(|host| host["lag"] == 0).count())
}

/// What the service says to curl's `arguments` and a request for `path` below the account's keys.
fn asks(service: &Service, account: &Account, path: &str, arguments: &[&str]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-H", "Content-Type: application/json", "-H"]);
    curl.arg(format!("Authorization: Bearer {}", account.token())).args(arguments);
    curl.arg(format!("{}/v2/self/keys/{path}", service.url()));
    serde_json::from_str(&run(&mut curl).output()).expect("an answer in JSON")
}

/// Sends `key` to `path` below the account's keys.
fn put(service: &Service, account: &Account, path: &str, key: &Key) -> Value {
    let body = Value::from(key.text().trim()).to_string();
    asks(service, account, path, &["-X", "PUT", "-d", &body])
}

fn delete(service: &Service, account: &Account, path: &str) -> Value {
    asks(service, account, path, &["-X", "DELETE"])
}

/// Waits until `count` hosts are connected.
fn there_are(service: &Service, count: usize) {
    until("the hosts are connected", || connected(service).0 == count);
}

#[test]
fn a_change_is_known_to_be_live_on_every_host() {
    let service = Service::start();
    let (first, mut second) = (PushHost::start(&service), PushHost::start(&service));
    there_are(&service, 2);
    let ana = service.account("ana");

    let stored = put(&service, &ana, "laptop?wait=5s", &Key::ed25519());
    assert_eq!(stored["hosts"], serde_json::json!({ "applied": 2, "of": 2 }), "{stored}");
    let phone = Key::ed25519();
    let unasked = put(&service, &ana, "phone", &phone);
    assert!(unasked.get("hosts").is_none() && unasked["id"] == 500, "{unasked}");
    first.learns(&phone);
    second.learns(&phone);
    let list = || service.administers(&["host", "list"]).output();
    until("both hosts report it", || list().contains("is live on 2 of 2 hosts"));
    assert!(list().contains("CREDENTIALS") && list().contains("LAG"), "{}", list());
    // The former name, with the former members and the sum at the end.
    let old = service.administers(&["hosts", "--json"]).output();
    assert!(old.lines().all(|line| line.contains("\"host\":") || line.contains("\"of\":2")), "{old}");

    // A host that is gone without a word is waited for, and not for ever.
    second.syncd.kill();
    let begin = Instant::now();
    let late = put(&service, &ana, "tablet?wait=500ms", &Key::ed25519());
    assert_eq!(late["hosts"], serde_json::json!({ "applied": 1, "of": 2 }), "{late}");
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    until("the lag of the one is listed", || {
        let hosts = hosts(&service);
        let lags: Vec<&Value> = hosts.iter().map(|host| &host["lag"]).collect();
        connected(&service).1 == 1 && lags.contains(&&Value::from(1)) && lags.contains(&&Value::from(0))
    });
    second.syncd.start();
    until("it has caught up", || connected(&service).1 == 2);
}

#[test]
fn a_response_that_counts_every_host_is_true_at_that_moment() {
    let (service, laptop) = (Service::start(), Key::ed25519());
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    there_are(&service, 1);
    let everywhere = serde_json::json!({ "applied": 1, "of": 1 });
    for _ in 0..3 {
        let stored = put(&service, &ana, "laptop?wait=5s", &laptop);
        assert_eq!((&stored["id"], &stored["hosts"]), (&Value::from(500), &everywhere), "{stored}");
        assert!(!host.lookup("git", &laptop.fingerprint()).stdout.is_empty(), "there is nothing to wait for");
        let removed = delete(&service, &ana, "laptop?wait=5s");
        assert_eq!((&removed["id"], &removed["hosts"]), (&Value::from(501), &everywhere), "{removed}");
        assert!(host.lookup("git", &laptop.fingerprint()).is_unknown(), "there is nothing to wait for");
    }
    let missing = delete(&service, &ana, "laptop?wait=5s");
    assert!(missing["type"] == "error" && missing.get("hosts").is_none(), "{missing}");
}

#[test]
fn a_removal_waits_for_a_missing_host_up_to_its_limit_and_succeeds() {
    let (service, laptop) = (Service::start(), Key::ed25519());
    let mut host = PushHost::start(&service);
    let ana = service.account("ana");
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    there_are(&service, 1);
    host.syncd.kill();
    let begin = Instant::now();
    let removed = delete(&service, &ana, "laptop?wait=300ms");
    assert_eq!(removed["hosts"], serde_json::json!({ "applied": 0, "of": 1 }), "{removed}");
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    assert!(ana.keys().is_empty(), "it succeeds in any case");
    assert!(!host.lookup("git", &laptop.fingerprint()).stdout.is_empty(), "as the answer said");
    host.syncd.start();
    host.forgets(&laptop);
}

#[test]
fn a_wait_at_one_replica_counts_the_hosts_of_the_others() {
    let database = PostgresDatabase::shared();
    let here = Service::start_on_postgres(database.url());
    let there = here.replica();
    let (near, far) = (PushHost::start(&here), PushHost::start(&there));
    let (ana, laptop) = (here.account("ana"), Key::ed25519());
    there_are(&here, 2);
    let everywhere = serde_json::json!({ "applied": 2, "of": 2 });
    let stored = put(&here, &ana, "laptop?wait=5s", &laptop);
    assert_eq!(stored["hosts"], everywhere, "{stored}");
    for host in [&near, &far] {
        assert!(!host.lookup("git", &laptop.fingerprint()).stdout.is_empty());
    }
    let removed = delete(&there, &ana, "laptop?wait=5s");
    assert_eq!(removed["hosts"], everywhere, "{removed}");
    for host in [&near, &far] {
        assert!(host.lookup("git", &laptop.fingerprint()).is_unknown());
    }
}

#[test]
fn a_wait_that_cannot_be_read_stores_nothing() {
    let service = Service::start();
    let ana = service.account("ana");
    for wait in ["wait=6s", "wait=soon", "wait=1s&wait=1s", "wait=", "wait=-1s"] {
        let refused = put(&service, &ana, &format!("laptop?{wait}"), &Key::ed25519());
        assert_eq!(refused["id"], 505, "{wait}: {refused}");
        let refused = delete(&service, &ana, &format!("laptop?{wait}"));
        assert_eq!(refused["type"], "error", "{wait}: {refused}");
    }
    assert!(ana.keys().is_empty());
    let stored = put(&service, &ana, "laptop?expires_at=2099-01-31T12:00:00Z&wait=1s", &Key::ed25519());
    assert_eq!(stored["hosts"], serde_json::json!({ "applied": 0, "of": 0 }), "{stored}");
    assert_eq!(ana.keys().len(), 1);
    let removed = delete(&service, &ana, "laptop?wait=5s");
    assert_eq!(
        removed["hosts"],
        serde_json::json!({ "applied": 0, "of": 0 }),
        "nothing to wait for: {removed}"
    );
}

#[test]
fn the_console_shows_the_propagation_and_the_host_that_revoked_a_key() {
    const PASSWORD: &str = "correct horse battery staple";
    let service = Service::start();
    let (ana, laptop, phone) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    service.set_password("ana", PASSWORD);
    ana.adds(&laptop, "laptop");
    ana.adds(&phone, "phone");
    let mut visitor = Visitor::of(&service.url());
    let page = visitor.signs_in("ana", PASSWORD).body;
    assert!(!page.contains("live on") && !page.contains("refused there"), "{page}");

    let host = PushHost::start(&service);
    let mut page = || visitor.opens("/users/me/ssh-keys").body;
    until("both keys are live", || page().contains("All changes are live on 1 of 1 push hosts."));
    let _ = host.pushkeys(&["revoke", &laptop.fingerprint().to_string()]).output();
    until("the page shows it", || page().contains("this key is refused there"));
    assert_eq!(page().matches("this key is refused there").count(), 1, "for one key only");
}
