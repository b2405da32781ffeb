//! Ownership conflicts, proofs of possession by the real `ssh-keygen`, and compromised keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_feed::Event;
use pushkeys_keys::KeyName;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Account, Service, answer, text};

/// A new key pair of `ssh-keygen`.
struct KeyPair {
    private: PathBuf,
    public: String,
}

impl KeyPair {
    fn new(service: &Service, name: &str, kind: &[&str]) -> Self {
        let private = service.path(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", name, "-f"]).arg(&private).args(kind);
        assert!(command.status().unwrap().success());
        let public = fs::read_to_string(private.with_extension("pub")).unwrap().trim().to_owned();
        Self { private, public }
    }

    fn ed25519(service: &Service, name: &str) -> Self {
        Self::new(service, name, &["-t", "ed25519"])
    }
}

/// The output of the command that the service shows, with `key`.
fn run(command: &str, key: &Path) -> String {
    let command = command.replace("KEYFILE", &key.display().to_string());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn post(service: &Service, account: &Account, path: &str, body: &str) -> (StatusCode, Value) {
    let path = format!("/v2/self/keys/{path}");
    answer(service.request(Method::POST, &path, &account.bearer).json(body)).await
}

async fn challenge(service: &Service, account: &Account, key: &KeyPair) -> String {
    let (status, body) = post(service, account, "mine/challenge", &key.public).await;
    assert_eq!((status, &body["namespace"]), (StatusCode::OK, &json!("key-ownership@pushkeys")), "{body}");
    assert!(text(&body, "command").contains(&text(&body, "challenge")));
    // The user who signs it reads which service it is for.
    let named = format!(" to {} at http://{}, once_", account.id, service.address());
    assert!(text(&body, "challenge").contains(&named), "{body}: {named}");
    text(&body, "command")
}

/// Proves possession by the challenge's command.
async fn prove(service: &Service, account: &Account, key: &KeyPair) -> (StatusCode, Value) {
    let command = challenge(service, account, key).await;
    post(service, account, "mine/proof", &run(&command, &key.private)).await
}

async fn warnings(service: &Service, account: &Account) -> Vec<Value> {
    let (status, body) = service.get("/v2/self/warnings", &account.bearer).await;
    assert_eq!(status, StatusCode::OK);
    body.as_array().unwrap().clone()
}

async fn is_verified(service: &Service, account: &Account) -> Value {
    service.get("/v2/self/keys", &account.bearer).await.1[0]["verified"].clone()
}

#[track_caller]
fn check_refused((status, body): &(StatusCode, Value), message: &str) {
    assert_eq!((*status, &body["id"]), (StatusCode::BAD_REQUEST, &json!(505)), "{body}");
    assert!(text(body, "message").contains(message), "{body}");
}

#[tokio::test]
async fn both_accounts_are_warned_of_a_conflict_until_they_dismiss_it() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let key = KeyPair::ed25519(&service, "key");
    service.put(&ana, "laptop", &key.public).await;
    assert_eq!(warnings(&service, &ana).await, Vec::<Value>::new());
    for _ in 0..2 {
        check_refused(&service.put(&bob, "work", &key.public).await, "another account");
    }
    for (account, name, other) in [(&ana, "laptop", ["bob", "work"]), (&bob, "work", ["ana", "laptop"])] {
        let listed = warnings(&service, account).await;
        let [warning] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((text(warning, "kind"), text(warning, "name")), ("contested".into(), name.to_owned()));
        assert!(text(warning, "fingerprint").starts_with("SHA256:"));
        assert!(text(warning, "date").parse::<jiff::Timestamp>().is_ok());
        assert!(!other.iter().any(|other| warning.to_string().contains(other)), "{warning}");
    }
    let path = format!("/v2/self/warnings/{}", text(&warnings(&service, &ana).await[0], "id"));
    let dismiss =
        async |account: &Account| answer(service.request(Method::DELETE, &path, &account.bearer)).await.0;
    assert_eq!(dismiss(&bob).await, StatusCode::NOT_FOUND);
    assert_eq!(dismiss(&ana).await, StatusCode::OK);
    assert_eq!(dismiss(&ana).await, StatusCode::NOT_FOUND);
    assert_eq!(warnings(&service, &ana).await, Vec::<Value>::new());
    assert_eq!(warnings(&service, &bob).await.len(), 1);
}

#[tokio::test]
async fn a_key_of_every_type_moves_to_the_account_that_proves_possession() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let host = service.host("push1");
    let kinds: [&[&str]; 7] = [
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "3072"],
        &["-t", "rsa", "-b", "4096"],
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let key = KeyPair::new(&service, &format!("key{number}"), kind);
        service.put(&bob, "stolen", &key.public).await;
        check_refused(&service.put(&ana, "mine", &key.public).await, "prove that it is yours");
        let (status, body) = prove(&service, &ana, &key).await;
        assert_eq!((status, &body["id"]), (StatusCode::OK, &json!(500)), "{kind:?}: {body}");
        assert_eq!(service.keys(&bob).await, []);
        assert_eq!(service.keys(&ana).await.len(), 1);
        assert_eq!(is_verified(&service, &ana).await, true);
        // One for each key so far: the warning of the conflict is replaced.
        let told: Vec<String> = warnings(&service, &bob).await.iter().map(|row| text(row, "kind")).collect();
        assert_eq!(told, vec!["taken_over"; number + 1]);
        assert_eq!(warnings(&service, &ana).await, Vec::<Value>::new());
        assert_eq!(service.delete(&ana, "mine").await.0, StatusCode::OK);
    }
    // put, put with the new account, remove: for each key.
    let snapshot = service.request(Method::GET, pushkeys_feed::SNAPSHOT_PATH, &host).send().await.unwrap();
    assert!(snapshot.text().await.unwrap().contains(&format!("\"sequence\":{}", 3 * kinds.len())));
}

#[tokio::test]
async fn hosts_get_a_moved_key_as_one_put_with_its_new_account() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let host = service.host("push1");
    let key = KeyPair::ed25519(&service, "key");
    service.put(&bob, "stolen", &key.public).await;
    let mut changes = service.changes(&host, None).await;
    assert!(matches!(changes.next().await.unwrap().event, Ok(Event::Reset)));
    assert_eq!(prove(&service, &ana, &key).await.0, StatusCode::OK);
    let Ok(Event::Put(entry)) = changes.next().await.unwrap().event else { panic!("no put") };
    assert_eq!(
        (entry.account.as_str(), entry.name.as_ref().map(KeyName::as_str)),
        (ana.id.as_str(), Some("mine"))
    );
}

#[tokio::test]
async fn an_account_can_prove_possession_of_its_own_key_and_of_a_new_one() {
    let service = Service::start();
    let ana = service.account("ana");
    let key = KeyPair::ed25519(&service, "key");
    assert_eq!(prove(&service, &ana, &key).await.0, StatusCode::OK);
    assert_eq!(is_verified(&service, &ana).await, true);
    service.delete(&ana, "mine").await;
    service.put(&ana, "mine", &key.public).await;
    assert_eq!(is_verified(&service, &ana).await, false);
    assert_eq!(prove(&service, &ana, &key).await.0, StatusCode::OK);
    assert_eq!(is_verified(&service, &ana).await, true);
    // The comment is not part of the key.
    service.put(&ana, "mine", &format!("{} again", key.public)).await;
    assert_eq!(is_verified(&service, &ana).await, true);
}

#[tokio::test]
async fn a_signature_is_valid_for_its_own_challenge_only() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let (key, other) = (KeyPair::ed25519(&service, "key"), KeyPair::ed25519(&service, "other"));
    let rsa = KeyPair::new(&service, "rsa", &["-t", "rsa", "-b", "2048"]);
    let proof = async |account: &Account, text: &str| post(&service, account, "mine/proof", text).await;

    let command = challenge(&service, &ana, &key).await;
    let right = run(&command, &key.private);
    check_refused(&proof(&ana, &run(&command, &other.private)).await, "no open challenge");
    check_refused(&proof(&bob, &right).await, "no open challenge");
    let namespace = run(&command.replace("key-ownership@pushkeys", "git"), &key.private);
    check_refused(&proof(&ana, &namespace).await, "not one of the last challenge");
    let message = run(&command.replace("pushkeys ties", "pushkeys unties"), &key.private);
    check_refused(&proof(&ana, &message).await, "not one of the last challenge");
    check_refused(&proof(&ana, "-----BEGIN SSH SIGNATURE-----").await, "not the signature");
    check_refused(&proof(&ana, &key.public).await, "not the signature");
    assert_eq!(service.keys(&ana).await, []);
    assert_eq!(proof(&ana, &right.replace('\n', "\r\n")).await.0, StatusCode::OK);
    check_refused(&proof(&ana, &right).await, "no open challenge");

    let command = challenge(&service, &bob, &rsa).await;
    let namespace = run(&command.replace("key-ownership@pushkeys", "git"), &rsa.private);
    check_refused(&proof(&bob, &namespace).await, "not one of the last challenge");
    // A new challenge replaces the last one.
    let newer = challenge(&service, &bob, &rsa).await;
    check_refused(&proof(&bob, &run(&command, &rsa.private)).await, "not one of the last challenge");
    assert_eq!(proof(&bob, &run(&newer, &rsa.private)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_challenge_is_valid_for_ten_minutes() {
    let service = Service::start();
    let ana = service.account("ana");
    let key = KeyPair::ed25519(&service, "key");
    let command = challenge(&service, &ana, &key).await;
    let left_ms = service.database().ask("SELECT expires_at FROM challenges").await.unwrap();
    let left_ms = left_ms - jiff::Timestamp::now().as_millisecond();
    assert!((1..=600_000).contains(&left_ms), "{left_ms}");
    service.database().ask("UPDATE challenges SET expires_at = expires_at - 600000").await;
    let refused = post(&service, &ana, "mine/proof", &run(&command, &key.private)).await;
    check_refused(&refused, "no open challenge");
    assert_eq!(prove(&service, &ana, &key).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_key_that_its_verified_owner_reports_as_compromised_cannot_be_registered_again() {
    let mut service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let key = KeyPair::ed25519(&service, "key");
    service.put(&ana, "mine", &key.public).await;
    // Without a proof of possession, an account could block a key that it only copied.
    let (status, body) = service.delete(&ana, "mine?compromised=true").await;
    assert_eq!((status, &body["id"]), (StatusCode::BAD_REQUEST, &json!(4000)), "{body}");
    let (status, _) = service.delete(&ana, "mine?compromized=true").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(service.keys(&ana).await.len(), 1);
    assert_eq!(prove(&service, &ana, &key).await.0, StatusCode::OK);
    assert_eq!(service.delete(&ana, "mine?compromised=true").await.0, StatusCode::OK);
    assert_eq!(service.delete(&ana, "mine?compromised=true").await.0, StatusCode::NOT_FOUND);
    service.restart();
    for account in [&ana, &bob] {
        check_refused(&service.put(account, "mine", &key.public).await, "reported as compromised");
        check_refused(&prove(&service, account, &key).await, "reported as compromised");
        assert_eq!(service.keys(account).await, []);
    }
    let line = json!({ "account": "carl", "name": "k", "key": key.public }).to_string();
    fs::write(service.path("import"), format!("{line}\n")).unwrap();
    let import = service.path("import").display().to_string();
    let output = service.command(&["import", "--create", &import]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("reported as compromised"), "{said}");
}
