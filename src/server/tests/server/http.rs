//! What HTTP asks of any service, over bytes as they are sent; and what connections may cost.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use tokio::net::TcpSocket;

use crate::service::{PATIENCE, Service, answer, new_key, wait_for};

/// The time after which connections that say nothing are closed, and what a busy machine adds to it.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(8);

async fn headers(
    service: &Service,
    method: Method,
    path: &str,
    authorization: &str,
) -> (StatusCode, HeaderMap) {
    let response = service.request(method, path, authorization).send().await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn a_request_names_one_host() {
    let service = Service::start();
    let check = |request: &str, status: u16, text: &str| {
        let answer = service.raw(&format!("{request}Connection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request} {answer}");
        assert!(answer.contains(text), "{request} {answer}");
    };
    check("GET /v2/self HTTP/1.1\r\n", 400, "\"message\":\"the request has no `Host`\",\"type\":\"error\"");
    check("GET /v2/self HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400, "more than one `Host`");
    check("GET /v2/self HTTP/1.1\r\nHost: a b\r\n", 400, "malformed");
    check("PUT /v2/self/keys/k HTTP/1.1\r\nHost: u@a\r\nContent-Length: 0\r\n", 400, "\"id\":505");
    check("GET /sign-in HTTP/1.1\r\n", 400, "no `Host`");
    check("GET /v1/feed/changes HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400, "more than one `Host`");
    check("GET /v2/self HTTP/1.1\r\nHost: a\r\n", 401, "\"id\":2001");
}

#[tokio::test]
async fn methods_and_conditions_that_a_path_does_not_have_are_refused() {
    let service = Service::start();
    let ana = service.account("ana");
    for (method, path, allow) in [
        (Method::PUT, "/v2/self", "GET,HEAD"),
        (Method::DELETE, "/v2/self/keys", "GET,HEAD,PUT"),
        (Method::GET, "/v2/self/keys/k", "PUT,DELETE,POST"),
        (Method::PUT, "/healthz", "GET,HEAD"),
        (Method::GET, pushkeys_feed::APPLIED_PATH, "POST"),
    ] {
        let (status, headers) = headers(&service, method.clone(), path, &ana.bearer).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(headers["allow"], allow, "{method} {path}");
    }
    let (status, options) = headers(&service, Method::OPTIONS, "/v2/self/keys", "").await;
    assert_eq!((status, &options["allow"]), (StatusCode::NO_CONTENT, &"GET,HEAD,PUT".parse().unwrap()));
    assert_eq!(headers(&service, Method::PUT, "/v2/nothing", &ana.bearer).await.0, StatusCode::NOT_FOUND);

    let (one, two) = (new_key(&service, "one"), new_key(&service, "two"));
    let path = "/v2/self/keys/k";
    let put = |header: &'static str, value: &'static str, key: &str| {
        answer(service.request(Method::PUT, path, &ana.bearer).header(header, value).json(key))
    };
    assert_eq!(put("if-match", "*", &one).await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        put("if-unmodified-since", "Sat, 28 Nov 2026 12:00:00 GMT", &one).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(service.keys(&ana).await, []);
    assert_eq!(put("if-none-match", "*", &one).await.0, StatusCode::OK);
    let (status, body) = put("if-none-match", "*", &two).await;
    assert_eq!((status, &body["id"]), (StatusCode::PRECONDITION_FAILED, &505.into()), "{body}");
    let delete = service.request(Method::DELETE, path, &ana.bearer).header("if-match", "\"x\"");
    assert_eq!(answer(delete).await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(service.keys(&ana).await.len(), 1);
    assert_eq!(put("if-none-match", "\"x\"", &two).await.0, StatusCode::OK);
}

#[tokio::test]
async fn secrets_are_not_stored_on_their_way_and_types_are_not_guessed() {
    let https = Service::start_with("public_url = \"https://keys.example.com\"");
    let http = Service::start();
    let (ana, host) = (https.account("ana"), https.host("push1"));
    for (path, authorization) in [
        ("/v2/self", &ana.bearer),
        ("/v2/self/keys", &ana.bearer),
        ("/v2/self/tokens/current", &ana.bearer),
        ("/v2/self/cli_tokens?cli_token=q83vEjRWeJCrze8SNFZ4kKvN7xI", &ana.bearer),
        ("/v2/self", &"Bearer undefined".to_owned()),
        ("/sign-in", &String::new()),
        (pushkeys_feed::CHANGES_PATH, &host),
        (pushkeys_feed::SNAPSHOT_PATH, &host),
    ] {
        let (_, headers) = headers(&https, Method::GET, path, authorization).await;
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000", "{path}");
    }
    let (_, changes) = headers(&https, Method::GET, pushkeys_feed::CHANGES_PATH, &host).await;
    assert_eq!(changes["x-accel-buffering"], "no");
    let (_, plain) = headers(&http, Method::GET, "/v2/self", "").await;
    assert!(!plain.contains_key("strict-transport-security"));

    let compressed = async |path: &str| {
        let request = https.request(Method::GET, path, "").header("accept-encoding", "gzip");
        request.send().await.unwrap().headers().contains_key("content-encoding")
    };
    assert!(compressed("/openapi.json").await);
    assert!(!compressed("/sign-in").await, "a page can hold a secret beside what others choose");
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_still_sends() {
    let service = Service::start();
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = vec![b'x'; 512 * 1024];
    let head = format!("PUT /v2/self/keys/k HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
    for piece in body.chunks(16 * 1024) {
        stream.write_all(piece).unwrap();
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"id\":505"), "{rest}");
}

#[tokio::test]
async fn a_report_is_a_json_object_of_its_own_shape() {
    let service = Service::start();
    let host = service.host("push1");
    let post = async |content_type: &str, body: &'static str| {
        let request = service.request(Method::POST, pushkeys_feed::APPLIED_PATH, &host);
        request.header("content-type", content_type).body(body).send().await.unwrap().status()
    };
    let good = "{\"cursor\":\"e1-1\"}";
    assert_eq!(post("text/plain", good).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(post("application/json", "[\"e1-1\"]").await, StatusCode::BAD_REQUEST);
    assert_eq!(post("application/json", "\"e1-1\"").await, StatusCode::BAD_REQUEST);
    assert_eq!(post("application/json; charset=utf-8", "{\"cursor\":\"?\"}").await, StatusCode::BAD_REQUEST);
}

/// How long a connection lives on which `bytes` are sent, and then `drip` again and again.
fn lifetime(address: &str, bytes: &[u8], drip: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(bytes).unwrap();
    let begun_at = Instant::now();
    let mut buffer = [0; 4096];
    while begun_at.elapsed() < BEGIN_TIME_MAX + SLACK {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            _ => {}
        }
        if stream.write_all(drip).is_err() {
            break;
        }
    }
    begun_at.elapsed()
}

#[test]
fn connections_that_do_not_get_to_a_request_end_soon() {
    let service = Service::start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let with_settings = [&preface[..], settings].concat();
    let half = b"GET / HTTP/1.1\r\nHost: a\r\n";
    thread::scope(|scope| {
        let cases: [(&str, &[u8], &[u8]); 7] = [
            ("nothing", b"", b""),
            ("a byte of either version's beginning", b"P", b""),
            ("half the preface of HTTP/2", &preface[..20], b""),
            ("a preface", preface, b""),
            ("a preface and settings", &with_settings, b""),
            ("half the headers", half, b""),
            ("one header after the other", half, b"X-A: b\r\n"),
        ];
        let running = cases.map(|(what, bytes, drip)| {
            let address = service.address();
            (what, scope.spawn(move || lifetime(address, bytes, drip)))
        });
        for (what, lifetime) in running {
            let lived = lifetime.join().unwrap();
            assert!(lived < BEGIN_TIME_MAX + SLACK, "{what}: {lived:?}");
        }
    });
}

#[tokio::test]
async fn one_address_leaves_connections_to_others() {
    let service = Service::start_with("connections_per_address_max = 4");
    let connect = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(service.address().parse().unwrap()).await.unwrap().into_std().unwrap()
    };
    let get = |mut stream: TcpStream| {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The service may have closed it already.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect("127.0.0.2").await);
    }
    let refused = get(connect("127.0.0.2").await);
    assert!(refused.is_empty() || refused.contains("429 Too Many Requests\r\n"), "{refused}");
    assert!(get(connect("127.0.0.3").await).starts_with("HTTP/1.1 200 "));
    drop(held);
    let again = async || get(connect("127.0.0.2").await).starts_with("HTTP/1.1 200 ");
    let begun_at = Instant::now();
    while !again().await {
        assert!(begun_at.elapsed() < PATIENCE);
    }
}

#[test]
fn many_sign_ins_at_once_need_little_memory() {
    const MEMORY_KIB_MAX: u64 = 128 * 1024;
    let service = Service::start_with("trusted_proxies = [\"127.0.0.1\"]");
    let sign_in = |number: usize| {
        let body = "account=nobody&password=correct+horse+battery";
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nConnection: close\r\n\
             X-Forwarded-For: 198.51.100.{number}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
            address = service.address()
        );
        service.raw(&request)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..100).map(|number| scope.spawn(move || sign_in(number))).collect();
        for sign_in in running {
            let answer = sign_in.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 ") || answer.contains("\r\nretry-after: "), "{answer}");
        }
    });
    let peak_kib = wait_for(|| service.peak_memory_kib());
    assert!(peak_kib < MEMORY_KIB_MAX, "{peak_kib} KiB");
}
