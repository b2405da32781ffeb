//! The key API over a real connection, as existing clients use it.

use crate::service::{Account, Service, answer, new_key, text};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";
const CONSUMER: &str = "T5nFjKeHH4AIlEveuGhB5S3xg8T19e";
const CONSUMER_SECRET: &str = "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT";

/// A refusal as the CLI recognizes it: 400, 505, and no unknown member.
#[track_caller]
fn check_refused((status, body): &(StatusCode, Value), message: &str) {
    assert_eq!(*status, StatusCode::BAD_REQUEST, "{body}");
    assert_eq!(body["id"], 505, "{body}");
    assert_eq!(body["type"], "error");
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    assert!(text(body, "message").contains(message), "{body} does not say {message:?}");
}

#[track_caller]
fn check_stored((status, body): &(StatusCode, Value)) {
    assert_eq!(
        (*status, &body["id"], &body["type"]),
        (StatusCode::OK, &json!(500), &json!("success")),
        "{body}"
    );
}

#[tokio::test]
async fn an_account_sees_itself() {
    let service = Service::start();
    service.ask(&["account", "add", "ana", "--email", "ana@example.com", "--id", "acct_ana"]);
    let bearer = format!("Bearer {}", text(&service.ask(&["token", "add", "acct_ana"]), "bearer"));
    let (status, body) = service.get("/v2/self", &bearer).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({ "id": "acct_ana", "email": "ana@example.com", "name": "ana", "oauthApps": [] }));
    let bob = service.account("bob");
    let (_, body) = service.get("/v2/self", &bob.bearer).await;
    assert_eq!(body, json!({ "id": bob.id, "name": "bob", "oauthApps": [] }));
}

#[tokio::test]
async fn a_token_is_valid_until_it_is_revoked_and_no_github_account_is_linked() {
    let service = Service::start();
    let ana = service.account("ana");
    let current = service.get("/v2/self/tokens/current", &ana.bearer).await;
    assert_eq!(current, (StatusCode::OK, json!({ "expirationDate": "9999-12-31T23:59:59Z" })));
    let (status, body) = service.get("/v2/github/keys", &ana.bearer).await;
    assert_eq!((status, &body["id"]), (StatusCode::NOT_FOUND, &json!(7301)));
    for path in ["/v2/self/tokens/current", "/v2/github/keys"] {
        assert_eq!(service.get(path, "Bearer undefined").await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_stored_listed_as_it_was_sent_and_removed() {
    let service = Service::start();
    let ana = service.account("ana");
    check_stored(&service.put(&ana, "laptop", &format!("  {KEY} me@laptop\r\n")).await);
    let (_, keys) = service.get("/v2/self/keys", &ana.bearer).await;
    let expected = json!([{ "name": "laptop", "key": format!("{KEY} me@laptop"), "fingerprint": FINGERPRINT, "verified": false }]);
    assert_eq!(keys, expected);

    let (status, body) = service.delete(&ana, "laptop").await;
    assert_eq!((status, &body["id"]), (StatusCode::OK, &json!(501)));
    assert_eq!(service.keys(&ana).await, []);
    let (status, body) = service.delete(&ana, "laptop").await;
    assert_eq!((status, &body["type"]), (StatusCode::NOT_FOUND, &json!("error")));
    check_stored(&service.put(&ana, "laptop", KEY).await);
}

#[tokio::test]
async fn names_seen_on_the_wire_are_decoded_once() {
    let service = Service::start();
    let ana = service.account("ana");
    let names = [
        ("my%20key%2F%C3%A9%2B1", "my key/é+1"),
        ("a%3Fb%23c", "a?b#c"),
        ("%252e%252e", "%2e%2e"),
        ("it's(*)", "it's(*)"),
        ("%F0%9F%94%91", "🔑"),
        ("x%3By", "x;y"),
    ];
    for (encoded, name) in names {
        check_stored(&service.put(&ana, encoded, KEY).await);
        assert_eq!(service.keys(&ana).await, [(name.to_owned(), FINGERPRINT.to_owned())]);
        assert_eq!(service.delete(&ana, encoded).await.0, StatusCode::OK, "{encoded}");
    }
}

#[tokio::test]
async fn a_name_that_clients_cannot_address_is_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    check_refused(&service.put(&ana, "", KEY).await, "cannot be empty");
    check_refused(&service.put(&ana, "%20", KEY).await, "the name is empty");
    check_refused(&service.put(&ana, "a%0Ab", KEY).await, "U+000A");
    check_refused(&service.put(&ana, "%FF", KEY).await, "UTF-8");
    check_refused(&service.put(&ana, &"a".repeat(256), KEY).await, "256 bytes");
    check_stored(&service.put(&ana, &"a".repeat(255), KEY).await);
    // An HTTP client would resolve these, so they are sent as raw bytes.
    for path in [
        "/v2/self/",
        "/v2/self/keys",
        "/v2/self/keys/",
        "/v2/self/keys/.",
        "/v2/self/keys/..",
        "/v2/self/keys/%2e%2e",
    ] {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n\"{KEY}\"",
            ana.bearer,
            KEY.len() + 2,
        );
        let answer = service.raw(&request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(answer.contains("\"id\":505"), "{path}: {answer}");
    }
    let (status, _) = service.delete(&ana, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_name_can_be_seen_and_has_one_spelling() {
    let service = Service::start();
    let ana = service.account("ana");
    check_refused(&service.put(&ana, "%E3%85%A4", KEY).await, "U+3164 (character 1 of it)");
    check_refused(&service.put(&ana, "%E2%A0%80", KEY).await, "character 1 of it is U+2800");
    check_refused(&service.put(&ana, "lap%E2%80%8Ctop", KEY).await, "U+200C (character 4 of it)");
    check_refused(&service.put(&ana, "a%2F..%2Fb", KEY).await, "cannot be `.` or `..`");
    let persian = "%D9%84%D9%BE%E2%80%8C%D8%AA%D8%A7%D9%BE";
    check_stored(&service.put(&ana, persian, KEY).await);
    assert_eq!(service.keys(&ana).await[0].0, "لپ\u{200c}تاپ");
    assert_eq!(service.delete(&ana, persian).await.0, StatusCode::OK);

    check_stored(&service.put(&ana, "my%C2%A0cafe%CC%81", KEY).await);
    check_stored(&service.put(&ana, "my%20caf%C3%A9", KEY).await);
    assert_eq!(service.keys(&ana).await, [("my caf\u{e9}".to_owned(), FINGERPRINT.to_owned())]);
    assert_eq!(service.delete(&ana, "my%20cafe%CC%81").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_is_older_than_the_rules_is_listed_and_removed() {
    let service = Service::start();
    let ana = service.account("ana");
    for (stored, rename, encoded) in [
        ("\u{3164}", "UPDATE keys SET name = '\u{3164}'", "%E3%85%A4"),
        ("a/..", "UPDATE keys SET name = 'a/..'", "a%2F.."),
        ("cafe\u{301}", "UPDATE keys SET name = 'cafe\u{301}'", "cafe%CC%81"),
    ] {
        check_stored(&service.put(&ana, "laptop", KEY).await);
        let _ = service.database().ask(rename).await;
        assert_eq!(service.keys(&ana).await[0].0, stored);
        assert_eq!(service.delete(&ana, encoded).await.0, StatusCode::OK, "{encoded}");
        assert_eq!(service.keys(&ana).await, []);
    }
    check_stored(&service.put(&ana, "caf%C3%A9", KEY).await);
    let _ = service.database().ask("UPDATE keys SET name = 'cafe\u{301}'").await;
    check_stored(&service.put(&ana, "caf%C3%A9", KEY).await);
    assert_eq!(service.delete(&ana, "other").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_account_goes_by_one_spelling() {
    let service = Service::start();
    let jose = service.ask(&["account", "add", "jos\u{e9}"]);
    for taken in ["jos\u{e9}", "jose\u{301}", " jose\u{301}"] {
        let output = service.command(&["account", "add", taken]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("exists"), "{taken:?}");
    }
    let output = service.command(&["account", "add", "\u{3164}"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("U+3164 (character 1 of it)"));
    assert_eq!(service.ask(&["account", "remove", "jose\u{301}"])["id"], jose["id"]);
}

/// The key that `ssh-keygen -t mldsa44-ed25519` of OpenSSH 10.6 made.
const MLDSA: &str = include_str!("../../../keys/tests/policy/mldsa44_ed25519.pub");

#[tokio::test]
async fn a_post_quantum_key_is_stored_and_what_it_cannot_do_yet_is_said() {
    let service = Service::start();
    let ana = service.account("ana");
    check_stored(&service.put(&ana, "laptop", MLDSA).await);
    let fingerprint = "SHA256:wJ9n7lMWnCIsNqU6PFENUPjTsWe8yhFfTW8nIs0Y/ws".to_owned();
    assert_eq!(service.keys(&ana).await, [("laptop".to_owned(), fingerprint)]);
    let challenge = service.request(Method::POST, "/v2/self/keys/laptop/challenge", &ana.bearer).json(MLDSA);
    check_refused(&answer(challenge).await, "cannot verify signatures of ssh-mldsa44-ed25519");
    let experiment = MLDSA.replace("ed25519 ", "ed25519@openssh.com ");
    check_refused(&service.put(&ana, "k", &experiment).await, "is an experimental type of OpenSSH 10.4");
}

#[tokio::test]
async fn keys_that_no_host_lets_in_or_anybody_can_break_are_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    let weak = |name: &str| {
        std::fs::read_to_string(format!("{}/tests/server/weak/{name}.pub", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
    };
    check_refused(&service.put(&ana, "k", &weak("long_exponent")).await, "could not log in");
    check_refused(&service.put(&ana, "k", &weak("prime")).await, "one prime in place of two");
    check_stored(&service.put(&ana, "first", &weak("shared_1")).await);
    check_refused(&service.put(&ana, "second", &weak("shared_2")).await, "shares a prime factor");
    let bob = service.account("bob");
    check_stored(&service.put(&bob, "second", &weak("shared_2")).await);
    check_refused(&service.put(&ana, "k", &format!("\u{feff}{KEY}")).await, "U+FEFF (character 1 of it)");
}

#[tokio::test]
async fn a_text_that_is_not_one_public_key_is_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    let two = format!("{KEY}\r\n{}", new_key(&service, "second"));
    check_refused(&service.put(&ana, "k", &two).await, "more than one line");
    check_refused(&service.put(&ana, "k", "").await, "no key here");
    check_refused(&service.put(&ana, "k", &format!("no-pty {KEY}")).await, "something before the key");
    check_refused(&service.put(&ana, "k", &"A".repeat(200_000)).await, "longer than 16 KiB");
    check_stored(&service.put(&ana, "k", KEY).await);
}

#[tokio::test]
async fn a_private_key_is_refused_however_it_is_sent_and_never_logged() {
    let service = Service::start();
    let ana = service.account("ana");
    new_key(&service, "secret");
    let private = std::fs::read_to_string(service.path("key-secret")).unwrap();
    check_refused(&service.put(&ana, "k", &private).await, "this is a private key");
    // As a shell sends `"$(cat key)"`: not JSON at all.
    for body in [format!("\"{private}\""), private.clone()] {
        let request = service.request(Method::PUT, "/v2/self/keys/k", &ana.bearer);
        let request = request.header("content-type", "application/json").body(body);
        check_refused(&answer(request).await, "this is a private key");
    }
    let body_line = private.lines().nth(1).unwrap();
    assert!(!service.log().contains(body_line));
    assert_eq!(service.keys(&ana).await, []);
}

#[tokio::test]
async fn a_body_is_one_json_string_and_nothing_else() {
    let service = Service::start();
    let ana = service.account("ana");
    let check = async |content_type: &str, body: String, message: Option<&str>| {
        let request = service.request(Method::PUT, "/v2/self/keys/k", &ana.bearer);
        let answer = answer(request.header("content-type", content_type).body(body)).await;
        match message {
            Some(message) => check_refused(&answer, message),
            None => check_stored(&answer),
        }
    };
    let json = "application/json";
    check(json, KEY.into(), Some("not a JSON string")).await;
    check(json, format!("\"{KEY} com\"ment\""), Some("not a JSON string")).await;
    check(json, format!("{{\"key\":\"{KEY}\"}}"), Some("not a JSON string")).await;
    check(json, format!("{{\"key\":\"{KEY}\",\"account\":\"acct_1\"}}"), Some("not a JSON string")).await;
    check(json, format!("[\"{KEY}\"]"), Some("not a JSON string")).await;
    check(json, String::new(), Some("not a JSON string")).await;
    check("text/plain", format!("\"{KEY}\""), Some("application/json")).await;
    check("application/problem+json", format!("\"{KEY}\""), Some("application/json")).await;
    check("application/json; charset=utf-8", format!("\"{KEY}\""), None).await;
}

#[tokio::test]
async fn a_put_on_a_name_replaces_its_key_and_the_same_key_twice_changes_nothing() {
    let service = Service::start();
    let ana = service.account("ana");
    let second = new_key(&service, "second");
    check_stored(&service.put(&ana, "laptop", KEY).await);
    check_stored(&service.put(&ana, "laptop", KEY).await);
    check_refused(&service.put(&ana, "desktop", KEY).await, "under the name `laptop`");
    check_stored(&service.put(&ana, "laptop", &second).await);
    let keys = service.keys(&ana).await;
    assert_eq!(keys.len(), 1);
    assert_ne!(keys[0].1, FINGERPRINT);
    check_stored(&service.put(&ana, "desktop", KEY).await);
}

#[tokio::test]
async fn a_key_belongs_to_one_account_and_the_refusal_does_not_name_it() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    check_stored(&service.put(&ana, "laptop", &format!("{KEY} ana@laptop")).await);
    let refused = service.put(&bob, "mine", &format!("{KEY} bob@laptop")).await;
    check_refused(&refused, "registered to another account");
    for secret in ["ana", &ana.id, "laptop"] {
        assert!(!text(&refused.1, "message").contains(secret), "{refused:?}");
    }
    assert_eq!(service.keys(&bob).await, []);
    assert_eq!(service.delete(&bob, "laptop").await.0, StatusCode::NOT_FOUND);
    assert_eq!(service.delete(&ana, "laptop").await.0, StatusCode::OK);
    check_stored(&service.put(&bob, "mine", KEY).await);
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_keys() {
    let service = Service::start_with("keys_per_account_max = 1");
    let ana = service.account("ana");
    let second = new_key(&service, "second");
    check_stored(&service.put(&ana, "one", KEY).await);
    check_refused(&service.put(&ana, "two", &second).await, "already has 1 keys");
    check_stored(&service.put(&ana, "one", &second).await);
}

/// The header of clever-tools 4, with `secret` as the token's.
fn short_oauth(account: &Account, secret: &str) -> String {
    format!(
        "OAuth oauth_consumer_key=\"{CONSUMER}\", oauth_token=\"{}\", oauth_signature=\"{CONSUMER_SECRET}%26{secret}\"",
        account.oauth_token
    )
}

#[tokio::test]
async fn both_forms_of_oauth_plaintext_are_accepted_and_a_wrong_secret_is_not() {
    let service = Service::start();
    let ana = service.account("ana");
    let short = short_oauth(&ana, &ana.oauth_secret);
    let full = format!(
        "{short}, oauth_signature_method=\"PLAINTEXT\", oauth_nonce=\"n\", oauth_timestamp=\"1\", oauth_version=\"1.0\""
    );
    for header in [&short, &full] {
        assert_eq!(service.get("/v2/self", header).await.0, StatusCode::OK, "{header}");
    }
    let wrong = [
        short_oauth(&ana, "wrong"),
        short_oauth(&ana, ""),
        short.replace(CONSUMER, "another"),
        short.replace(CONSUMER_SECRET, "another"),
        short.replace(&ana.oauth_token, "oauth_another"),
        format!("{short}, oauth_signature_method=\"HMAC-SHA512\""),
    ];
    for header in &wrong {
        assert_eq!(service.get("/v2/self", header).await.0, StatusCode::UNAUTHORIZED, "{header}");
    }
}

#[tokio::test]
async fn requests_without_a_credential_of_an_account_are_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    let host = service.host("push1");
    let undefined =
        "OAuth oauth_consumer_key=\"undefined\", oauth_token=\"undefined\", oauth_signature=\"undefined\"";
    for header in ["Bearer undefined", undefined, "Bearer ", "Basic YTpi", "undefined", &host] {
        let (status, body) = service.get("/v2/self", header).await;
        assert_eq!((status, &body["type"]), (StatusCode::UNAUTHORIZED, &json!("error")), "{header}");
    }
    // The CLI checks only `id == 505` after a PUT.
    let put = service.request(Method::PUT, "/v2/self/keys/k", "Bearer undefined").json(KEY);
    let (status, body) = answer(put).await;
    assert_eq!((status, &body["id"]), (StatusCode::UNAUTHORIZED, &json!(505)));

    assert_eq!(service.get("/v2/self", &ana.bearer).await.0, StatusCode::OK);
    service.ask(&["token", "revoke", &ana.token_id]);
    assert_eq!(service.get("/v2/self", &ana.bearer).await.0, StatusCode::UNAUTHORIZED);
    let header = short_oauth(&ana, &ana.oauth_secret);
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_json() {
    let service = Service::start();
    let ana = service.account("ana");
    assert_eq!(service.get("/v2/other", &ana.bearer).await.0, StatusCode::NOT_FOUND);
    let post = answer(service.request(Method::POST, "/v2/self", &ana.bearer)).await;
    assert_eq!(post.0, StatusCode::METHOD_NOT_ALLOWED);
    let (status, body) = answer(service.request(Method::PUT, "/v2/self", &ana.bearer)).await;
    assert_eq!((status, &body["id"]), (StatusCode::METHOD_NOT_ALLOWED, &json!(505)), "{body}");
    let health = json!({ "status": "ok", "reads": "ok", "writes": "ok" });
    assert_eq!(service.get("/healthz", "").await, (StatusCode::OK, health));
    assert_eq!(service.get("/livez", "").await, (StatusCode::OK, json!({ "status": "ok" })));
}

#[tokio::test]
async fn confirmed_changes_survive_a_crash() {
    let mut service = Service::start();
    let ana = service.account("ana");
    check_stored(&service.put(&ana, "laptop", KEY).await);
    service.kill();
    service.restart();
    assert_eq!(service.keys(&ana).await, [("laptop".to_owned(), FINGERPRINT.to_owned())]);
    assert_eq!(service.delete(&ana, "laptop").await.0, StatusCode::OK);
    service.kill();
    service.restart();
    assert_eq!(service.keys(&ana).await, []);
    check_stored(&service.put(&ana, "laptop", KEY).await);
    service.restart();
    assert_eq!(service.keys(&ana).await, [("laptop".to_owned(), FINGERPRINT.to_owned())]);
}

#[tokio::test]
async fn every_change_is_one_line_in_the_log() {
    let service = Service::start();
    let ana = service.account("ana");
    check_stored(&service.put(&ana, "laptop", KEY).await);
    service.delete(&ana, "laptop").await;
    let log = service.log();
    for event in ["put", "remove"] {
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains(&format!(" {event}: `{FINGERPRINT}`"))).collect();
        let [line] = lines.as_slice() else { panic!("{log}") };
        let account = format!("account={}", ana.id);
        let parts =
            ["key=key_", FINGERPRINT, "sequence=", "by=\"token\"", "address=127.0.0.1", "request=req_"];
        for part in parts.into_iter().chain([account.as_str()]) {
            assert!(line.contains(part), "{line} has no {part}");
        }
    }
    assert!(!log.contains("AAAAC3NzaC1lZDI1NTE5"));
    assert!(!log.contains("laptop"));
}
