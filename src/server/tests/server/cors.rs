//! The key API from pages of other origins.

use reqwest::header::{HeaderMap, ORIGIN};
use reqwest::{Method, StatusCode};

use crate::service::Service;

const CONSOLE: &str = "https://console.example.com";
const SETTINGS: &str = "allowed_origins = [\"https://console.example.com\", \"http://localhost:3000\"]";

async fn ask(service: &Service, method: Method, path: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = service.request(method, path, "Bearer undefined").header(ORIGIN, origin);
    let response = request.header("access-control-request-method", "PUT").send().await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn preflight_requests_of_configured_origins_are_allowed() {
    let service = Service::start_with(SETTINGS);
    for path in ["/v2/self", "/v2/self/keys/my%20key", "/v2/self/keys/"] {
        for origin in [CONSOLE, "http://localhost:3000"] {
            let (status, headers) = ask(&service, Method::OPTIONS, path, origin).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{path}");
            assert_eq!(headers["access-control-allow-origin"], origin);
            assert_eq!(headers["access-control-allow-methods"], "GET, PUT, DELETE");
            assert_eq!(headers["access-control-allow-headers"], "authorization, content-type");
        }
    }
}

#[tokio::test]
async fn pages_of_configured_origins_can_read_responses_and_refusals() {
    let service = Service::start_with(SETTINGS);
    for (method, path) in
        [(Method::GET, "/v2/self"), (Method::PUT, "/v2/self/keys/k"), (Method::GET, "/v2/no")]
    {
        let (status, headers) = ask(&service, method, path, CONSOLE).await;
        assert!(status.is_client_error());
        assert_eq!(headers["access-control-allow-origin"], CONSOLE, "{path}");
        assert_eq!(headers["vary"], "origin");
    }
}

#[tokio::test]
async fn pages_of_other_origins_get_no_cors_headers() {
    let configured = Service::start_with(SETTINGS);
    let default = Service::start();
    for (service, origin) in [
        (&configured, "https://console.example.com.evil.example"),
        (&configured, "null"),
        (&default, CONSOLE),
    ] {
        for method in [Method::OPTIONS, Method::GET] {
            let (_, headers) = ask(service, method, "/v2/self", origin).await;
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
            assert_eq!(headers["vary"], "origin");
        }
    }
}
