//! `bench api`: requests per second of the key API, and the service's memory with many keys.

use std::future::Future;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, put};
use clap::Args;
use pushkeys_tests::{Account, Room, Service, SyntheticKeys};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::report::Report;
use crate::world::{NEWCOMERS, RESIDENTS, import, resident_peak_kib};

/// The number of keys of each account that is listed.
const KEYS_LISTED: usize = 10;
/// No rate limit may apply.
const SETTINGS: &str = "account_rate = { per_second = 1000000, burst = 1000000 }\n\
    address_rate = { per_second = 1000000, burst = 1000000 }\nkeys_per_account_max = 10000000\n";
const KIB_PER_MIB: f64 = 1024.0;
/// The argument by which this program starts itself as the bare handler.
pub(crate) const BARE: &str = "bare-handler";

#[derive(Args)]
#[command(after_help = "\
Imports keys into a key service on SQLite, then in turn: requests over kept connections to a handler of the same framework that
answers with the same bytes and does nothing else, and to the service. Each connection is an account's own. An added key is
durable when the answer comes.")]
pub(crate) struct Arguments {
    /// Keys at the service
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::temporary(), Service::start_with(SETTINGS, &[]));
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let accounts: Vec<Account> =
        (0..arguments.connections).map(|number| service.account(&format!("user{number}"))).collect();
    let mut keys = SyntheticKeys::new(NEWCOMERS);
    for account in &accounts {
        for (number, key) in keys.by_ref().take(KEYS_LISTED).enumerate() {
            let reply =
                account.tries_to_add(&key.text, &format!("key{number}")).expect("the service answers");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    let bare = Bare::start();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let load = Load { runtime: &runtime, accounts: &accounts, time: Duration::from_secs(arguments.seconds) };
    let texts: Arc<[String]> = keys.take(arguments.connections).map(|key| key.text).collect();

    let list =
        |base: &str| load.per_second(base, |client, base, _, _| client.get(format!("{base}/v2/self/keys")));
    compare("list", list(&bare.base), list(&service.url()), report);

    // Each account repeatedly adds a key and removes it: every request is a change, and the number of keys stays
    // constant.
    let add = |base: &str| {
        let texts = Arc::clone(&texts);
        load.per_second(base, move |client, base, connection, count| {
            let url = format!("{base}/v2/self/keys/added");
            if count % 2 == 1 {
                return client.delete(url);
            }
            let body = Value::from(texts.get(connection).map_or("", String::as_str)).to_string();
            client.put(url).header(CONTENT_TYPE, "application/json").body(body)
        })
    };
    compare("add, and remove again", add(&bare.base), add(&service.url()), report);

    let resident = resident_peak_kib(service.pid()).expect("the service is running") / KIB_PER_MIB;
    report.note(&format!("pushkeys-server, resident at most, {} keys: {resident:.1} MiB", arguments.keys));
}

fn compare(what: &str, bare: f64, service: f64, report: &Report) {
    report.note(&format!(
        "{what}: {service:.0} requests a second, the bare handler {bare:.0}: {:.2} x",
        service / bare
    ));
}

/// Continuous requests, one after the other on each connection.
struct Load<'a> {
    runtime: &'a Runtime,
    accounts: &'a [Account],
    time: Duration,
}

impl Load<'_> {
    /// The number of requests per second. `request` makes the next one of a connection from the base URL, the connection's number
    /// and the number of its requests so far.
    fn per_second(
        &self,
        base: &str,
        request: impl Fn(&Client, &str, usize, u64) -> RequestBuilder + Clone + Send + 'static,
    ) -> f64 {
        let start = Instant::now();
        let answered = self.runtime.block_on(async {
            let mut connections = JoinSet::new();
            for (number, account) in self.accounts.iter().enumerate() {
                let client = Client::builder().no_proxy().build().expect("a client");
                let (base, token, time) = (base.to_owned(), account.token().to_owned(), self.time);
                let request = request.clone();
                connections.spawn(async move {
                    let mut sent = 0;
                    while start.elapsed() < time {
                        let request = request(&client, &base, number, sent);
                        answered(request.header(AUTHORIZATION, format!("Bearer {token}"))).await;
                        sent += 1;
                    }
                    sent
                });
            }
            connections.join_all().await.into_iter().sum::<u64>()
        });
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let answered = answered as f64;
        answered / start.elapsed().as_secs_f64()
    }
}

async fn answered(request: RequestBuilder) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let body = response.bytes().await.expect("a whole answer");
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
}

/// A process with an empty handler.
struct Bare {
    process: Child,
    base: String,
}

impl Bare {
    fn start() -> Self {
        let port =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = port.expect("a free port").to_string();
        let program = std::env::current_exe().expect("this program");
        let process =
            Command::new(program).args([BARE, &address]).stdin(Stdio::null()).spawn().expect("this program");
        pushkeys_tests::until("the bare handler answers", || std::net::TcpStream::connect(&address).is_ok());
        Self { process, base: format!("http://{address}") }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the empty handler at `address` until it is killed.
pub(crate) fn serve_bare(address: &str) {
    let list: Vec<Value> = SyntheticKeys::new(NEWCOMERS)
        .take(KEYS_LISTED)
        .map(|key| serde_json::json!({"name": "key", "key": key.text, "fingerprint": key.fingerprint.to_string()}))
        .collect();
    let list = Value::from(list).to_string();
    let json = |body: String| move || async move { ([(CONTENT_TYPE, "application/json")], body) };
    let done = json(r#"{"id":500,"message":"The key is registered.","type":"success"}"#.to_owned());
    let router = Router::new()
        .route("/v2/self/keys", get(json(list)))
        .route("/v2/self/keys/{name}", put(done.clone()).delete(done));
    block(async {
        let listener = TcpListener::bind(address).await.expect("a free port");
        axum::serve(listener, router).await.expect("requests");
    });
}

fn block(future: impl Future<Output = ()>) {
    Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(future);
}
