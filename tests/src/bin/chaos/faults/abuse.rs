//! An address or a host that uses as many resources as its limits allow. Others are not affected, so nothing is excused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

use super::{Choice, End, Fault, LARGE, USUAL, Victim};
use crate::world::{World, snapshot_at};

/// The abuser's own address on this machine.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 66, 1);
const SILENT: u32 = 300;
const SIGN_INS: u32 = 300;
const REPORTING: u32 = 32;
const HELD_SNAPSHOTS: u32 = 8;
/// Shorter than any time limit of the service.
const HELD_TIME: Duration = Duration::from_mins(1);
/// The maximum number of uses in one report.
const USES: usize = 1_024;
/// A silent connection is closed within ten seconds; this includes the time to detect it.
const SILENCE_MAX: Duration = Duration::from_secs(14);
/// The time limit of another host's snapshot.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(10);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Too small for a snapshot.
const RECEIVE_BYTES: u32 = 4_096;
/// Incomplete beginnings of a connection: nothing, a byte of either protocol, half a preface, half a head.
const BEGINNINGS: [&str; 5] = ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n", "G", "GET / HTTP/1.1\r\nHost: a\r\n"];

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "abuse-connections",
        about: "hundreds of silent or incomplete connections: each ends within ten seconds",
        victim: Victim::Replica,
        seconds: (14, 16),
        begin: silent_connections,
        ..USUAL
    },
    Fault {
        name: "abuse-sign-ins",
        about: "300 clients sign in at once with wrong passwords, each from its own address, and keep trying",
        victim: Victim::Replica,
        seconds: (6, 10),
        begin: sign_ins,
        ..USUAL
    },
    Fault {
        name: "abuse-host",
        about: "one stolen host token: the longest reports on many connections",
        victim: Victim::Replica,
        variants: &["usage", "revoked"],
        seconds: (8, 12),
        weight: 3,
        begin: stolen_host,
        ..USUAL
    },
    Fault {
        name: "abuse-snapshots",
        about: "one stolen host token: snapshots that are never read",
        worlds: LARGE,
        victim: Victim::Replica,
        seconds: (12, 15),
        weight: 6,
        begin: untaken_snapshots,
        ..USUAL
    },
];

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Answers = Arc<Mutex<BTreeMap<String, u64>>>;

/// An abuser that runs until it is dropped.
pub(super) struct Flood {
    is_over: Arc<AtomicBool>,
    pub(super) answers: Answers,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts `count` tasks, each of which repeats `task`.
    pub(super) fn start(count: u32, task: impl Fn(u32, Answers) -> Task + Send + Sync + 'static) -> Self {
        let (is_over, answers) = (Arc::<AtomicBool>::default(), Answers::default());
        let (over, recorded) = (Arc::clone(&is_over), Arc::clone(&answers));
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let task = Arc::new(task);
            runtime.block_on(async {
                for number in 0..count {
                    let (task, recorded) = (Arc::clone(&task), Arc::clone(&recorded));
                    tokio::spawn(async move {
                        loop {
                            task(number, Arc::clone(&recorded)).await;
                        }
                    });
                }
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        Self { is_over, answers, thread: Some(thread) }
    }

    /// The responses, and how often each was received.
    fn responses(&self) -> String {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = answers.iter().map(|(answer, count)| format!("{count} × {answer}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// Ends it, and logs its responses.
    pub(super) fn end(self) -> End {
        Box::new(move |world| world.shared.log.say("abuser", &format!("was answered {}", self.responses())))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(super) fn count(answers: &Answers, answer: String) {
    *answers.lock().unwrap_or_else(PoisonError::into_inner).entry(answer).or_default() += 1;
}

/// The address number `number` of the abuser's network.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(ADDRESS.to_bits() + number)
}

/// A client with the address `address`.
pub(super) fn client(address: Ipv4Addr) -> Client {
    let builder = Client::builder().no_proxy().timeout(REQUEST_TIME_MAX).local_address(IpAddr::V4(address));
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

pub(super) async fn ask(request: RequestBuilder, answers: Answers) {
    match request.send().await {
        Ok(reply) => {
            let status = reply.status().as_u16();
            let _ = reply.bytes().await;
            count(&answers, status.to_string());
        }
        Err(error) if error.is_timeout() => count(&answers, "no answer in time".to_owned()),
        Err(_) => {
            count(&answers, "a closed connection".to_owned());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The status of the response to a request for `url` with this credential, if there is one.
pub(super) fn blocking_status(url: &str, authorization: &str) -> Option<u16> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::builder().no_proxy().timeout(REQUEST_TIME_MAX).build().expect("a client");
    let request = client.get(url).header("Authorization", authorization);
    runtime.block_on(async { request.send().await.ok().map(|reply| reply.status().as_u16()) })
}

async fn connect(to: SocketAddr, receive_bytes: Option<u32>) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddr::from((ADDRESS, 0)))?;
    socket.connect(to).await
}

pub(super) fn replica(world: &mut World, choice: &Choice) -> (String, SocketAddr) {
    let service = &world.replica(choice.victim).service;
    (service.url(), service.address().parse().expect("an address and a port"))
}

fn silent_connections(world: &mut World, choice: &Choice) -> End {
    let (_, to) = replica(world, choice);
    let flood = Flood::start(SILENT, move |number, answers| {
        Box::pin(async move {
            let began = Instant::now();
            let beginning = BEGINNINGS.get(number as usize % BEGINNINGS.len()).copied().unwrap_or_default();
            if let Ok(mut stream) = connect(to, None).await {
                let _ = stream.write_all(beginning.as_bytes()).await;
                let mut bytes = Vec::new();
                let ended = tokio::time::timeout(SILENCE_MAX, stream.read_to_end(&mut bytes)).await;
                let after = began.elapsed().as_secs();
                count(
                    &answers,
                    match ended {
                        Ok(_) => format!("an end after {after} s"),
                        Err(_) => format!("no end: {beginning:?}"),
                    },
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        })
    });
    let answers = Arc::clone(&flood.answers);
    world.expects("connections that say nothing are ended", SILENCE_MAX + Duration::from_secs(3), {
        let began = Instant::now();
        move |_| {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            match answers.keys().find(|answer| answer.starts_with("no end")) {
                Some(answer) => Err(format!("after {} s: {answer}", SILENCE_MAX.as_secs())),
                None if began.elapsed() < SILENCE_MAX + Duration::from_secs(1) => {
                    Err("it is too early to say".to_owned())
                }
                None => Ok(()),
            }
        }
    });
    flood.end()
}

fn sign_ins(world: &mut World, choice: &Choice) -> End {
    let (url, _) = replica(world, choice);
    let clients: Vec<Client> = (0..SIGN_INS).map(|number| client(address(number))).collect();
    let flood = Flood::start(SIGN_INS, move |number, answers| {
        let client = clients.get(number as usize).expect("a client each");
        let form = [("account", format!("nobody-{number}")), ("password", "not the right one".to_owned())];
        let request = client.post(format!("{url}/sign-in")).form(&form).header("Origin", &url);
        Box::pin(ask(request.header("Sec-Fetch-Site", "same-origin"), answers))
    });
    flood.end()
}

/// Reads only the beginning of a snapshot, and keeps the connection.
fn untaken_snapshots(world: &mut World, choice: &Choice) -> End {
    let (_, to) = replica(world, choice);
    let token = world.stolen_token.clone();
    let flood = Flood::start(HELD_SNAPSHOTS, move |_, answers| {
        let request =
            format!("GET /v1/feed/snapshot HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        Box::pin(async move {
            let Ok(mut stream) = connect(to, Some(RECEIVE_BYTES)).await else { return };
            let _ = stream.write_all(request.as_bytes()).await;
            let mut first = [0; 64];
            let length = stream.read(&mut first).await.unwrap_or(0);
            let head = String::from_utf8_lossy(first.get(..length).unwrap_or_default()).into_owned();
            count(&answers, head.lines().next().unwrap_or("a closed connection").to_owned());
            tokio::time::sleep(HELD_TIME).await;
        })
    });
    snapshots_go_on(world, choice);
    flood.end()
}

fn stolen_host(world: &mut World, choice: &Choice) -> End {
    let (url, _) = replica(world, choice);
    let token = world.stolen_token.clone();
    let (path, body) = report(world, choice.variant == "usage");
    let client = client(ADDRESS);
    let flood = Flood::start(REPORTING, move |_, answers| {
        let request = client.post(format!("{url}{path}")).bearer_auth(&token);
        let request = request.header("Content-Type", "application/json").body(body.clone());
        Box::pin(ask(request, answers))
    });
    snapshots_go_on(world, choice);
    flood.end()
}

/// Expects that another host gets a snapshot at any time.
fn snapshots_go_on(world: &mut World, choice: &Choice) {
    let good = world.host(0).token();
    let url = world.replica(choice.victim).service.url();
    let (began, hold) = (Instant::now(), choice.hold);
    world.expects("another host gets its snapshots all the time", hold + SNAPSHOT_TIME_MAX, move |_| {
        let asked = Instant::now();
        match snapshot_at(&url, &good, SNAPSHOT_TIME_MAX) {
            Err(error) if began.elapsed() > hold => Err(error),
            Ok(_) if began.elapsed() > hold => Ok(()),
            _ => Err(format!("it is too early to say; the last took {} ms", asked.elapsed().as_millis())),
        }
    });
}

/// The longest report of uses, or of revocations, of existing keys.
fn report(world: &World, is_usage: bool) -> (&'static str, String) {
    let at = jiff::Timestamp::now();
    let keys = world.residents.iter().take(USES);
    if is_usage {
        let uses = keys.map(|key| {
            let id = world.resident_ids.get(&key.fingerprint.to_string()).expect("registered");
            json!({"fingerprint": key.fingerprint.to_string(), "key_id": id, "kind": "check", "at": at.to_string()})
        });
        return ("/v1/feed/usage", json!({"uses": uses.collect::<Vec<_>>()}).to_string());
    }
    let revoked = keys
        .map(|key| json!({"what": {"fingerprint": key.fingerprint.to_string()}, "since": at.to_string()}));
    ("/v1/feed/revoked", json!({"revoked": revoked.collect::<Vec<_>>()}).to_string())
}
