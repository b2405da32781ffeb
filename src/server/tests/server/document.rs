//! The served description of the API, checked against the service.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Service, answer, new_key};

const DOCUMENT: &str = include_str!("../../openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Checks that a response has all required members of its schema and no unknown ones.
#[track_caller]
pub(crate) fn check_members(schema: &str, answer: &Value) {
    let document = document();
    let schema = &document["components"]["schemas"][schema];
    let members: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let known = schema["properties"].as_object().unwrap();
    let required: Vec<&str> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(required.iter().all(|name| members.contains(name)), "{answer} lacks one of {required:?}");
    assert!(members.iter().all(|name| known.contains_key(*name)), "{answer} has more than {known:?}");
}

#[tokio::test]
async fn the_document_is_served_without_a_credential() {
    let service = Service::start();
    let response =
        service.client.get(format!("http://{}/openapi.json", service.address())).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), DOCUMENT);
}

#[tokio::test]
async fn every_path_and_method_of_the_document_is_served_and_requires_its_credential() {
    let service = Service::start();
    let document = document();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "laptop").replace("{id}", "warn_1");
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let response = service.request(method.clone(), &path, "Bearer undefined").send().await.unwrap();
            let is_open = operation["security"] == json!([]);
            let expected = match (is_open, operation["responses"].get("404")) {
                (false, _) => StatusCode::UNAUTHORIZED,
                (true, None) => StatusCode::OK,
                // Credentials of the other kind are refused.
                (true, Some(_)) => StatusCode::NOT_FOUND,
            };
            assert_eq!(response.status(), expected, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked >= 14, "{asked}");
}

#[tokio::test]
async fn responses_match_their_schemas() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let key = new_key(&service, "laptop");
    check_members("Success", &service.put(&ana, "k?expires_at=2997-01-31T12:00:00Z", &key).await.1);
    check_members("Error", &service.put(&bob, "k", &key).await.1);
    check_members("Account", &service.get("/v2/self", &ana.bearer).await.1);
    check_members("CurrentToken", &service.get("/v2/self/tokens/current", &ana.bearer).await.1);
    check_members("Key", &service.get("/v2/self/keys", &ana.bearer).await.1[0]);
    check_members("Warning", &service.get("/v2/self/warnings", &ana.bearer).await.1[0]);
    check_members("Error", &service.get("/v2/github/keys", &ana.bearer).await.1);
    let ask = service.request(Method::POST, "/v2/self/keys/k/challenge", &bob.bearer).json(&key);
    check_members("Challenge", &answer(ask).await.1);
    let host = service.host("push1");
    let snapshot = service.request(Method::GET, pushkeys_feed::SNAPSHOT_PATH, &host).send().await.unwrap();
    let snapshot = snapshot.text().await.unwrap();
    check_members("Entry", &serde_json::from_str(snapshot.lines().nth(1).unwrap()).unwrap());
}

#[test]
fn every_reference_of_the_document_resolves() {
    fn check(value: &Value, document: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        match value {
            Value::Object(members) => members.values().for_each(|value| check(value, document)),
            Value::Array(items) => items.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    assert!(document["paths"].get(pushkeys_feed::SNAPSHOT_PATH).is_some());
    assert!(document["paths"].get(pushkeys_feed::CHANGES_PATH).is_some());
    check(&document, &document);
}

#[tokio::test]
async fn refused_reports_have_statuses_of_the_document() {
    let service = Service::start();
    let (host, document) = (service.host("push1"), document());
    let long = format!("{{\"cursor\":\"{}\"}}", "x".repeat(pushkeys_feed::REPORT_BYTES_MAX));
    for path in [pushkeys_feed::USAGE_PATH, pushkeys_feed::REVOKED_PATH, pushkeys_feed::APPLIED_PATH] {
        for (content_type, body, expected) in [
            ("text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("application/json", "[]", StatusCode::BAD_REQUEST),
            ("application/json", &long, StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            let request = service.request(Method::POST, path, &host).header("content-type", content_type);
            let status = request.body(body.to_owned()).send().await.unwrap().status();
            assert_eq!(status, expected, "{path} {content_type}");
            let responses = &document["paths"][path]["post"]["responses"];
            assert!(responses.get(status.as_str()).is_some(), "{path} {status}");
        }
    }
}
