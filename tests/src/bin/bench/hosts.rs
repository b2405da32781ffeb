//! `bench hosts`: how long a change takes to reach the last of many hosts of one service.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use pushkeys_tests::{Account, PATIENCE, Service, SyntheticKey, SyntheticKeys, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::report::{Report, Samples, millis};
use crate::world::{NEWCOMERS, resident_peak_kib};

/// The limit for the last host.
const TIME_MAX_MS: f64 = 1_000.0;
const WARM_UP_RUNS: usize = 5;
/// Concurrently opened connections: this benchmark is not about reconnects of a whole fleet.
const OPENING_MAX: usize = 64;
/// File descriptors besides those of hosts, each of which has a stream and a connection for its acknowledgements; the floor
/// has both ends of each stream.
const OTHER_FILES: u64 = 256;
/// The interval of acknowledgements of a host, both without and after changes, as in the daemon.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_secs(5);
const RECEIPT_REST: Duration = Duration::from_millis(200);
/// The read buffer of a stream.
const READ_BYTES: usize = 2 * 1024;
const KIB_PER_MIB: f64 = 1024.0;

#[derive(Args)]
#[command(after_help = "\
Opens the stream of every host at a key service on SQLite, each with a token of its own, then adds and removes a key at the
API again and again, and counts from the request's beginning until the last host has the whole event. As the daemon does,
every host says on a second connection what it has applied, after each change and every five seconds. The floor, before that: a
thread that writes such an event to the same number of sockets, read by the same readers. Readers and service share the machine.")]
pub(crate) struct Arguments {
    /// Hosts that are connected
    #[arg(long, default_value_t = 5_000)]
    hosts: usize,
    /// Changes that are measured
    #[arg(long, default_value_t = 50)]
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    allow_files(2 * arguments.hosts as u64 + OTHER_FILES);
    let mut writes = Samples::default();
    let floor = Floor::start(arguments.hosts);
    for _ in 0..arguments.runs {
        writes.push(floor.measure());
    }
    drop(floor);

    // All hosts come from one address here, each with two connections.
    let connections = 2 * arguments.hosts + usize::try_from(OTHER_FILES).unwrap_or(0);
    let service = Service::start_with(&format!("connections_per_address_max = {connections}\n"), &[]);
    let account = service.account("ana");
    report.note(&format!("registering {} hosts", arguments.hosts));
    let tokens = (0..arguments.hosts).map(|number| service.host_token(&format!("push-{number}"))).collect();
    let address: SocketAddr = service.address().parse().expect("a loopback address");
    let start = Instant::now();
    let fleet = Fleet::connect(address, tokens, true);
    report.note(&format!("{} streams began in {:.1} s", arguments.hosts, start.elapsed().as_secs_f64()));
    let mut changes = Samples::default();
    let keys = SyntheticKeys::new(NEWCOMERS);
    for (number, key) in keys.take(WARM_UP_RUNS + arguments.runs).enumerate() {
        let change = fleet.measure(|| make(&account, &key, number));
        if number >= WARM_UP_RUNS {
            changes.push(change);
        }
        // Work after a change must not slow down the next one.
        until("every host has acknowledged the change", || fleet.are_acknowledged());
    }
    report.times("a loop of writes, until the last has read", &writes, &writes);
    report.times("a change, until the last host has it", &changes, &writes);
    let resident = resident_peak_kib(service.pid()).expect("the service is running") / KIB_PER_MIB;
    report.note(&format!("pushkeys-server, resident at most: {resident:.1} MiB"));
    report.at_most("a change, until the last host has it, p50", millis(changes.median()), TIME_MAX_MS, "ms");
    report.at_most("the same, the slowest", millis(changes.percentile(100)), TIME_MAX_MS, "ms");
}

/// Adds a key, or removes the previous one.
fn make(account: &Account, key: &SyntheticKey, number: usize) {
    let reply = if number.is_multiple_of(2) {
        account.tries_to_add(&key.text, "probe")
    } else {
        account.tries_to_remove("probe")
    };
    let reply = reply.expect("the service answers");
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn allow_files(wanted: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let maximum = maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .unwrap_or_else(|error| panic!("cannot open {wanted} files: {error}\nhint: ulimit -Hn {wanted}"));
}

/// Connected hosts, all in one thread, so that the service keeps a processor.
struct Fleet {
    counts: Arc<Counts>,
    last: Receiver<Instant>,
    thread: Option<JoinHandle<()>>,
    end: Option<oneshot::Sender<()>>,
}

/// The number of received events and sent acknowledgements.
struct Counts {
    hosts: usize,
    ready: AtomicUsize,
    events: AtomicUsize,
    acknowledgements: AtomicUsize,
    /// Receives the moment at which the last host has an event.
    last: Sender<Instant>,
}

impl Fleet {
    /// Opens a stream with each of `tokens` at `address`, and waits until each has begun.
    fn connect(address: SocketAddr, tokens: Vec<String>, have_acknowledgements: bool) -> Self {
        let (sender, last) = channel();
        let zero = || AtomicUsize::new(0);
        let (hosts, ready, events, acknowledgements) = (tokens.len(), zero(), zero(), zero());
        let counts = Arc::new(Counts { hosts, ready, events, acknowledgements, last: sender });
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let opening = Arc::new(Semaphore::new(OPENING_MAX));
                for token in tokens {
                    let (seen, ids) = watch::channel(String::new());
                    tokio::spawn(listen(
                        address,
                        token.clone(),
                        Arc::clone(&opening),
                        Arc::clone(&shared),
                        seen,
                    ));
                    if have_acknowledgements {
                        tokio::spawn(acknowledge(address, token, Arc::clone(&shared), ids));
                    }
                }
                let _ = ended.await;
            });
        });
        let fleet = Self { counts, last, thread: Some(thread), end: Some(end) };
        until("every stream has begun", || fleet.counts.ready.load(Ordering::Relaxed) == fleet.counts.hosts);
        fleet
    }

    /// The time from the beginning of `change` until every host has it.
    fn measure(&self, change: impl FnOnce()) -> Duration {
        let start = Instant::now();
        change();
        self.last.recv_timeout(PATIENCE).expect("every host gets the change") - start
    }

    /// Whether all received events were acknowledged.
    fn are_acknowledged(&self) -> bool {
        self.counts.acknowledgements.load(Ordering::Relaxed) >= self.counts.events.load(Ordering::Relaxed)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One host's stream: counts the events with an id, and passes on the id.
async fn listen(
    address: SocketAddr,
    token: String,
    opening: Arc<Semaphore>,
    counts: Arc<Counts>,
    seen: watch::Sender<String>,
) {
    let place = opening.acquire_owned().await.expect("never closed");
    let mut stream = TcpStream::connect(address).await.expect("the service takes connections");
    let request =
        format!("GET /v1/feed/changes HTTP/1.1\r\nHost: push\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the service reads");
    let mut lines = BufReader::with_capacity(READ_BYTES, stream).split(b'\n');
    let (mut place, mut id) = (Some(place), None);
    while let Some(line) = lines.next_segment().await.expect("the stream goes on") {
        if let Some(text) = line.strip_prefix(b"id: ") {
            id = Some(String::from_utf8_lossy(text).into_owned());
        } else if line.starts_with(b"event: reset") && place.take().is_some() {
            counts.ready.fetch_add(1, Ordering::Relaxed);
        } else if line.is_empty()
            && let Some(id) = id.take()
        {
            let events = counts.events.fetch_add(1, Ordering::Relaxed) + 1;
            if events.is_multiple_of(counts.hosts) {
                counts.last.send(Instant::now()).expect("a receiver");
            }
            // Without acknowledgements there is no receiver.
            let _ = seen.send(id);
        }
    }
    panic!("a stream ended before the measurement did");
}

/// One host's acknowledgements, on one connection.
async fn acknowledge(
    address: SocketAddr,
    token: String,
    counts: Arc<Counts>,
    mut ids: watch::Receiver<String>,
) {
    let (mut connection, mut last) = (None, String::new());
    loop {
        let _ = timeout(ACKNOWLEDGEMENT_INTERVAL, ids.changed()).await;
        let id = ids.borrow_and_update().clone();
        if id.is_empty() {
            continue;
        }
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => {
                BufReader::with_capacity(READ_BYTES, TcpStream::connect(address).await.expect("a connection"))
            }
        };
        let body = format!("{{\"cursor\":\"{id}\"}}");
        let request = format!(
            "POST /v1/feed/applied HTTP/1.1\r\nHost: push\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("the service reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read_until(b'\n', &mut head).await.expect("the service answers");
            assert!(read > 0, "the service ended the connection");
        }
        assert!(head.starts_with(b"HTTP/1.1 204 "), "{}", String::from_utf8_lossy(&head));
        if last != id {
            counts.acknowledgements.fetch_add(1, Ordering::Relaxed);
            last = id;
        }
        connection = Some(stream);
        sleep(RECEIPT_REST).await;
    }
}

/// A thread that writes to the same number of sockets, with readers of the same kind.
struct Floor {
    fleet: Fleet,
    sockets: Vec<std::net::TcpStream>,
    bytes: Vec<u8>,
}

impl Floor {
    fn start(hosts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let accepting = std::thread::spawn(move || {
            let mut sockets = Vec::new();
            for _ in 0..hosts {
                let (mut socket, _) = listener.accept().expect("a connection");
                socket.set_nodelay(true).expect("a socket");
                socket.write_all(b"event: reset\ndata: {}\n\n").expect("a reader");
                sockets.push(socket);
            }
            sockets
        });
        let fleet = Fleet::connect(address, vec![String::new(); hosts], false);
        let sockets = accepting.join().expect("every connection came");
        let key = SyntheticKeys::new(NEWCOMERS).next().expect("keys without end");
        let data = serde_json::json!({
            "fingerprint": key.fingerprint.to_string(), "key": key.text, "account": "acct_0123456789abcdefghij",
            "key_id": "key_0123456789abcdefghij", "account_name": "ana", "name": "probe"
        });
        let bytes = format!("id: 0123456789abcdef-100\nevent: put\ndata: {data}\n\n").into_bytes();
        Self { fleet, sockets, bytes }
    }

    fn measure(&self) -> Duration {
        self.fleet.measure(|| {
            for mut socket in &self.sockets {
                socket.write_all(&self.bytes).expect("a reader");
            }
        })
    }
}
