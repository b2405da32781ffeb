//! Requests signed with OAuth 1.0a HMAC-SHA512, as clever-tools 3 and the SDKs send them.
//!
//! `openssl` makes the signatures, over base strings that are written out here.

use std::process::{Command, Stdio};

use jiff::Timestamp;
use reqwest::{Method, StatusCode};

use crate::service::{Account, Service, answer, is_on_postgres, text};

const CONSUMER: &str = "T5nFjKeHH4AIlEveuGhB5S3xg8T19e";
const CONSUMER_SECRET: &str = "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

/// A request to sign. `url` is percent-encoded as in the base string.
struct Request<'a> {
    method: &'a str,
    url: String,
    nonce: &'a str,
    timestamp_s: i64,
}

impl Request<'_> {
    fn sign(&self, account: &Account) -> String {
        self.sign_with(account, &account.oauth_secret)
    }

    fn sign_with(&self, account: &Account, secret: &str) -> String {
        let Self { method, url, nonce, timestamp_s } = self;
        let token = &account.oauth_token;
        let base = format!(
            "{method}&{url}&oauth_consumer_key%3D{CONSUMER}%26oauth_nonce%3D{nonce}\
             %26oauth_signature_method%3DHMAC-SHA512%26oauth_timestamp%3D{timestamp_s}\
             %26oauth_token%3D{token}%26oauth_version%3D1.0"
        );
        let signature = openssl_hmac(&format!("{CONSUMER_SECRET}&{secret}"), &base);
        format!(
            "OAuth oauth_consumer_key=\"{CONSUMER}\", oauth_nonce=\"{nonce}\", oauth_signature=\"{signature}\", \
             oauth_signature_method=\"HMAC-SHA512\", oauth_timestamp=\"{timestamp_s}\", oauth_token=\"{token}\", \
             oauth_version=\"1.0\""
        )
    }
}

/// The Base64 of the digest, percent-encoded.
fn openssl_hmac(key: &str, text: &str) -> String {
    use std::io::Write as _;
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha512", "-binary", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let digest = openssl.wait_with_output().unwrap().stdout;
    assert_eq!(digest.len(), 64);
    let base64 = <base64ct::Base64 as base64ct::Encoding>::encode_string(&digest);
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn now_s() -> i64 {
    Timestamp::now().as_second()
}

fn request<'a>(service: &Service, method: &'a str, path: &str, nonce: &'a str) -> Request<'a> {
    let address = service.address().replace(':', "%3A");
    Request { method, url: format!("http%3A%2F%2F{address}{path}"), nonce, timestamp_s: now_s() }
}

#[tokio::test]
async fn a_signed_request_is_served_once() {
    let service = Service::start();
    let ana = service.account("ana");
    let header = request(&service, "GET", "%2Fv2%2Fself", "first").sign(&ana);
    let (status, body) = service.get("/v2/self", &header).await;
    assert_eq!((status, text(&body, "id")), (StatusCode::OK, ana.id.clone()), "{body}");
    let (status, body) = service.get("/v2/self", &header).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(text(&body, "message").contains("served before"), "{body}");
    let header = request(&service, "GET", "%2Fv2%2Fself", "second").sign(&ana);
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_name_with_escapes_is_signed_as_it_is_sent() {
    let service = Service::start();
    let ana = service.account("ana");
    let header = request(&service, "PUT", "%2Fv2%2Fself%2Fkeys%2Fmy%2520key", "n").sign(&ana);
    let put = service.request(Method::PUT, "/v2/self/keys/my%20key", &header).json(KEY);
    assert_eq!(answer(put).await.0, StatusCode::OK);
    assert_eq!(service.keys(&ana).await[0].0, "my key");
}

#[tokio::test]
async fn a_signature_is_valid_for_one_method_one_url_one_secret_and_five_minutes() {
    let service = Service::start();
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let signed = |nonce| request(&service, "GET", "%2Fv2%2Fself", nonce);
    let old = Request { timestamp_s: now_s() - 400, ..signed("a") };
    let early = Request { timestamp_s: now_s() + 400, ..signed("b") };
    let wrong = [
        (old.sign(&ana), "set the clock"),
        (early.sign(&ana), "set the clock"),
        (Request { method: "POST", ..signed("c") }.sign(&ana), "not valid"),
        (request(&service, "GET", "%2Fv2%2Fself%2Fkeys", "d").sign(&ana), "not valid"),
        (signed("e").sign_with(&ana, &bob.oauth_secret), "not valid"),
        (signed("f").sign(&ana).replace("oauth_nonce=\"f\"", "oauth_nonce=\"g\""), "not valid"),
        (signed("h").sign(&ana).replace("HMAC-SHA512", "HMAC-SHA1"), "use HMAC-SHA512"),
    ];
    for (header, message) in &wrong {
        let (status, body) = service.get("/v2/self", header).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{header}");
        assert!(text(&body, "message").contains(message), "{body}");
    }
    // The query is part of the signed parameters, so it cannot be added later.
    let header = signed("i").sign(&ana);
    assert_eq!(service.get("/v2/self?a=b", &header).await.0, StatusCode::UNAUTHORIZED);
    // The refused requests did not use up their nonces.
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::OK);
    assert_eq!(service.get("/v2/self", &signed("c").sign(&ana)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn behind_a_proxy_the_configured_url_is_what_clients_sign() {
    let service = Service::start_with("public_url = \"https://keys.example.com\"");
    let ana = service.account("ana");
    let header = request(&service, "GET", "%2Fv2%2Fself", "a").sign(&ana);
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::UNAUTHORIZED);
    let url = "https%3A%2F%2Fkeys.example.com%2Fv2%2Fself".to_owned();
    let header = Request { method: "GET", url, nonce: "b", timestamp_s: now_s() }.sign(&ana);
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_signed_request_is_served_once_also_after_a_crash_and_by_one_of_many_that_come_at_once() {
    let mut service = Service::start_with("public_url = \"https://keys.example.com\"");
    let ana = service.account("ana");
    let sign = |nonce: &str| {
        let url = "https%3A%2F%2Fkeys.example.com%2Fv2%2Fself".to_owned();
        Request { method: "GET", url, nonce, timestamp_s: now_s() }.sign(&ana)
    };
    let header = sign("a");
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::OK);
    service.kill();
    service.restart();
    let (status, body) = service.get("/v2/self", &header).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    let header = sign("b");
    let answers = futures_util::future::join_all((0..8).map(|_| service.get("/v2/self", &header))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn what_an_account_signs_beyond_its_limit_is_not_recorded() {
    let service = Service::start_with(
        "public_url = \"https://keys.example.com\"\naccount_rate = { per_second = 1, burst = 2 }",
    );
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let sign = |account: &Account, nonce: &str| {
        let url = "https%3A%2F%2Fkeys.example.com%2Fv2%2Fself".to_owned();
        Request { method: "GET", url, nonce, timestamp_s: now_s() }.sign(account)
    };
    let mut served = 0;
    for number in 0..12 {
        let header = sign(&ana, &format!("n{number}"));
        let (status, _) = service.get("/v2/self", &header).await;
        served += i64::from(status == StatusCode::OK);
        assert!(matches!(status, StatusCode::OK | StatusCode::TOO_MANY_REQUESTS), "{status}");
    }
    assert!(served < 12);
    assert_eq!(service.database().ask("SELECT count(*) FROM nonces").await, Some(served));
    assert_eq!(service.get("/v2/self", &sign(&bob, "b")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_one_replica_has_served_is_refused_by_the_others() {
    if !is_on_postgres() {
        return;
    }
    let service = Service::start_with("public_url = \"https://keys.example.com\"");
    let (second, third) = (service.replica(), service.replica());
    let ana = service.account("ana");
    let sign = |nonce: &str| {
        let url = "https%3A%2F%2Fkeys.example.com%2Fv2%2Fself".to_owned();
        Request { method: "GET", url, nonce, timestamp_s: now_s() }.sign(&ana)
    };
    let header = sign("a");
    assert_eq!(service.get("/v2/self", &header).await.0, StatusCode::OK);
    for replica in [&second, &third] {
        let (status, body) = replica.get("/v2/self", &header).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(text(&body, "message").contains("served before"), "{body}");
    }
    // Sent to all of them at once, it is served by one.
    for number in 0..10 {
        let header = sign(&format!("at-once-{number}"));
        let asked = [&service, &second, &third].map(|replica| replica.get("/v2/self", &header));
        let answers = futures_util::future::join_all(asked).await;
        let served = answers.iter().filter(|(status, _)| *status == StatusCode::OK).count();
        assert_eq!(served, 1, "{answers:?}");
    }
}
