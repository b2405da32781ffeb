//! A foreign key service, which each host follows besides ours, and which can send any response.
//!
//! It serves the feed without chains, as described in `docs/own-key-api.md`: a snapshot, and changes as server-sent
//! events. While it is good, its keys are constant. Its attacks are in [`crate::faults`].

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pushkeys_keys::Fingerprint;
use pushkeys_tests::SyntheticKeys;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::model::UserKey;

/// The number of its keys. A source may remove a few of them without confirmation.
pub(crate) const KEYS: usize = 60;
/// Keys that it never had, and that no response may add.
const GHOSTS: usize = 3;
const SEED: u64 = 1 << 41;
const GHOST_SEED: u64 = 1 << 42;
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(30);
const REQUEST_BYTES_MAX: usize = 64 * 1024;

pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A running service.
#[derive(Debug)]
pub(crate) struct Foreign {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// Its responses, and the requests so far.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) epoch: String,
    pub(crate) sequence: u64,
    /// Its keys as lines of a snapshot, in their order.
    pub(crate) entries: Vec<Entry>,
    pub(crate) ghosts: Vec<Entry>,
    /// The attack in place of good responses.
    attack: Option<Attack>,
    /// A snapshot of another service that it sends in place of its own.
    pub(crate) replayed: Option<String>,
    /// The number of requests for a snapshot since the last change of the attack.
    pub(crate) snapshots: usize,
    /// The number of requests for a stream since then.
    pub(crate) streams: usize,
}

/// A key and its entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) json: String,
}

/// The responses of an attack, each until the host disconnects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The snapshot; `None` for the good one.
    pub(crate) snapshot: Option<Answer>,
    /// The stream of changes; `None` for one that immediately requests a snapshot.
    pub(crate) changes: Option<Answer>,
}

/// Answers one request, and closes the connection.
pub(crate) type Answer = fn(&mut TcpStream, &Foreign) -> io::Result<()>;

impl Foreign {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let state = State {
            epoch: "e1".to_owned(),
            sequence: 100,
            entries: entries(SEED, "other", KEYS),
            ghosts: entries(GHOST_SEED, "ghost", GHOSTS),
            attack: None,
            replayed: None,
            snapshots: 0,
            streams: 0,
        };
        let foreign = Self { address, state: Arc::new(Mutex::new(state)) };
        let serving = foreign.share();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.share();
                // The host may disconnect during a response.
                thread::spawn(move || serving.serve(stream));
            }
        });
        foreign
    }

    fn share(&self) -> Self {
        Self { address: self.address, state: Arc::clone(&self.state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Begins an attack, or ends it.
    pub(crate) fn set_attack(&self, attack: Option<Attack>) {
        let mut state = self.state();
        (state.attack, state.snapshots, state.streams) = (attack, 0, 0);
    }

    /// Whether the attack goes on: endless responses end with the fault.
    pub(crate) fn is_attacking(&self) -> bool {
        self.state().attack.is_some()
    }

    /// Its keys as in the cache.
    pub(crate) fn keys(seed_of_ghosts: bool) -> Vec<UserKey> {
        let (seed, account, count) =
            if seed_of_ghosts { (GHOST_SEED, "ghost", GHOSTS) } else { (SEED, "other", KEYS) };
        let keys = SyntheticKeys::new(seed).take(count).zip(0..);
        let keys = keys.map(|(key, number)| UserKey {
            account: format!("{account}_{number}"),
            account_name: format!("{account}-{number}"),
            name: "key".to_owned(),
            text: key.text,
            fingerprint: key.fingerprint,
            path: None,
        });
        keys.collect()
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        while let Some(head) = read_head(&mut stream)? {
            let mut words = head.split(' ');
            let path = words.nth(1).unwrap_or_default();
            if path.starts_with("/v1/feed/snapshot") {
                let attack = {
                    let mut state = self.state();
                    state.snapshots += 1;
                    state.attack
                };
                if let Some(answer) = attack.and_then(|attack| attack.snapshot) {
                    return answer(&mut stream, self);
                }
                let body = self.state().snapshot();
                stream.write_all(&ok(NDJSON, &body))?;
            } else if path.starts_with("/v1/feed/changes") {
                let attack = {
                    let mut state = self.state();
                    state.streams += 1;
                    state.attack
                };
                return match attack {
                    None => self.good_changes(&mut stream, &head),
                    Some(attack) => match attack.changes {
                        Some(answer) => answer(&mut stream, self),
                        None => reset(&mut stream),
                    },
                };
            } else {
                // It accepts no reports, which are optional.
                skip_body(&mut stream, &head)?;
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            }
        }
        Ok(())
    }

    fn good_changes(&self, stream: &mut TcpStream, head: &str) -> io::Result<()> {
        let at = {
            let state = self.state();
            format!("{}-{}", state.epoch, state.sequence)
        };
        let last = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("last-event-id").then(|| value.trim().to_owned())
        });
        if last.as_deref() != Some(at.as_str()) {
            return reset(stream);
        }
        stream.write_all(STREAM)?;
        while !self.is_attacking() {
            stream.write_all(&chunk(&self.state().heartbeat()))?;
            thread::sleep(HEARTBEAT);
        }
        Ok(())
    }
}

impl State {
    /// The current snapshot.
    pub(crate) fn snapshot(&self) -> String {
        if let Some(replayed) = &self.replayed {
            return replayed.clone();
        }
        snapshot(&self.epoch, self.sequence, &self.entries)
    }

    pub(crate) fn heartbeat(&self) -> String {
        event("heartbeat", &json!({ "sequence": self.sequence }).to_string(), None)
    }

    /// The id of the change this number after (or before) the last one.
    pub(crate) fn id(&self, distance: i64) -> String {
        format!("{}-{}", self.epoch, self.sequence.saturating_add_signed(distance))
    }

    /// Its keys and those that it never had, in their order.
    pub(crate) fn with_ghosts(&self) -> Vec<Entry> {
        let mut all = [self.entries.clone(), self.ghosts.clone()].concat();
        all.sort_by_key(|entry| entry.fingerprint);
        all
    }
}

fn entries(seed: u64, account: &str, count: usize) -> Vec<Entry> {
    let keys = SyntheticKeys::new(seed).take(count).zip(0..);
    let mut entries: Vec<Entry> = keys
        .map(|(key, number)| {
            let json = json!({
                "fingerprint": key.fingerprint.to_string(), "key": key.text, "account": format!("{account}_{number}"),
                "key_id": format!("key_{number}"), "account_name": format!("{account}-{number}"), "name": "key",
            });
            Entry { fingerprint: key.fingerprint, json: json.to_string() }
        })
        .collect();
    entries.sort_by_key(|entry| entry.fingerprint);
    entries
}

/// A snapshot in the format of the feed.
pub(crate) fn snapshot(epoch: &str, sequence: u64, entries: &[Entry]) -> String {
    let mut text =
        format!("{}\n", json!({"pushkeys": "snapshot", "format": 1, "epoch": epoch, "sequence": sequence}));
    for entry in entries {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", entry.json);
    }
    let digest = Sha256::digest(&text);
    let _ = writeln!(text, "{{\"end\":true,\"entries\":{},\"sha256\":\"{digest:x}\"}}", entries.len());
    text
}

/// A complete response.
pub(crate) fn ok(media_type: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// The beginning of a stream of changes, followed by [`chunk`]s.
pub(crate) const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk of a response without a length.
pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// One event of a stream.
pub(crate) fn event(kind: &str, data: &str, id: Option<&str>) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {kind}\ndata: {data}\n\n")
}

/// A stream that immediately requests a snapshot.
pub(crate) fn reset(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(STREAM)?;
    stream.write_all(&chunk(&event("reset", "{}", None)))?;
    // The host reads it before the connection is closed.
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// The head of the next request; `None` if the host disconnected.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend(byte);
        if head.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn skip_body(stream: &mut TcpStream, head: &str) -> io::Result<()> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let mut body = vec![0; length.unwrap_or(0).min(REQUEST_BYTES_MAX)];
    stream.read_exact(&mut body)
}
