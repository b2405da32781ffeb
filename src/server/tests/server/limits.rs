//! Rate limits of accounts and addresses.

use reqwest::{Method, StatusCode};

use crate::service::{Service, answer, text};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
const ACCOUNT: &str = "account_rate = { per_second = 1, burst = 3 }";
const ADDRESS: &str = "address_rate = { per_second = 1, burst = 3 }";

#[tokio::test]
async fn an_account_over_its_limit_gets_retry_after_and_others_are_served() {
    let service = Service::start_with(ACCOUNT);
    let (ana, bob) = (service.account("ana"), service.account("bob"));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let response = service.request(Method::GET, "/v2/self", &ana.bearer).send().await.unwrap();
        statuses.push(response.status());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait_s: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=2).contains(&wait_s), "{wait_s}");
        }
    }
    assert_eq!(statuses[..3], [StatusCode::OK; 3]);
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(service.get("/v2/self", &bob.bearer).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_address_is_limited_for_all_accounts_and_a_put_gets_a_refusal_that_the_cli_knows() {
    let service = Service::start_with(ADDRESS);
    let mut last = None;
    for _ in 0..20 {
        let put = service.request(Method::PUT, "/v2/self/keys/k", "Bearer undefined").json(KEY);
        last = Some(answer(put).await);
    }
    let (status, body) = last.unwrap();
    assert_eq!((status, &body["id"]), (StatusCode::BAD_REQUEST, &505.into()), "{body}");
    assert!(text(&body, "message").contains("from this address"), "{body}");
    let (status, body) = service.get("/v2/self", "Bearer undefined").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
}

#[tokio::test]
async fn clients_of_a_trusted_proxy_are_limited_separately() {
    let service = Service::start_with(&format!("{ADDRESS}\ntrusted_proxies = [\"127.0.0.1\"]"));
    let ask = async |client: &str| {
        let request = service.request(Method::GET, "/healthz", "").header("x-forwarded-for", client);
        answer(request).await.0
    };
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(ask("192.0.2.1").await);
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ask("192.0.2.2").await, StatusCode::OK);
}
