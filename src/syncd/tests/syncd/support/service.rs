//! A key service of raw sockets, which answers as a test wants it to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushkeys_feed::{Cursor, Entry, Event, SnapshotWriter};

const HEARTBEAT: Duration = Duration::from_millis(100);
const EPOCH: &str = "double";

/// The answer to a request for the snapshot.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, head included, and the end.
    Bytes(Vec<u8>),
    /// These bytes, and then silence.
    Silence(Vec<u8>),
    /// These bytes, and then the others again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// The snapshot, or 304 to a client that has its tag.
    Tagged(String, Vec<u8>),
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// Changes 1, 2, …, as they are sent.
    changes: Vec<Vec<u8>>,
    /// The answer to a request for changes in place of changes.
    instead: Option<Answer>,
    is_silent: bool,
    requests: Vec<String>,
    /// Connections are cut when this number changes.
    cut: u64,
}

impl State {
    fn add(&mut self, event: &Event) {
        let mut bytes = Vec::new();
        let id = cursor(self.changes.len() as u64 + 1);
        pushkeys_feed::encode(event, Some(&id), &mut bytes);
        self.changes.push(bytes);
    }
}

/// The service. It stops with the test's process.
#[derive(Clone)]
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// The snapshot of `entries` after the change `sequence`.
pub(crate) fn snapshot(sequence: u64, entries: &[Entry]) -> Vec<u8> {
    snapshot_of(&cursor(sequence), entries)
}

/// The snapshot of `entries` after the change `cursor`.
pub(crate) fn snapshot_of(cursor: &Cursor, entries: &[Entry]) -> Vec<u8> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.fingerprint);
    let mut bytes = Vec::new();
    let mut writer = SnapshotWriter::new(cursor, &mut bytes);
    for entry in &entries {
        writer.entry(entry, &mut bytes);
    }
    writer.finish(&mut bytes);
    bytes
}

/// A whole answer.
pub(crate) fn with_type(media_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Service {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let accepting = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                std::thread::spawn(move || {
                    // Clients that leave are what many tests are about.
                    let _ = serving.serve(stream.unwrap());
                });
            }
        });
        service
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A source of the kind `feed` that asks here.
    pub(crate) fn feed(&self, extra: &str) -> String {
        format!("[[source]]\nname = \"api\"\nkind = \"feed\"\nurl = \"{}\"\n{extra}\n", self.url())
    }

    /// A source of the kind `poll` that asks here all the time.
    pub(crate) fn poll(&self, extra: &str) -> String {
        format!(
            "[[source]]\nname = \"web\"\nkind = \"poll\"\nurl = \"{}/keys\"\ninterval = \"100ms\"\n{extra}\n",
            self.url()
        )
    }

    /// Answers requests for the snapshot with `answer` from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = Some(answer);
    }

    /// Answers with the snapshot of `entries`, after all changes that were made until now.
    pub(crate) fn holds(&self, entries: &[Entry]) {
        let sequence = self.sequence();
        self.answer(Answer::Bytes(with_type(
            pushkeys_feed::SNAPSHOT_MEDIA_TYPE,
            &snapshot(sequence, entries),
        )));
    }

    /// Makes a change, which is sent at once on open connections.
    pub(crate) fn change(&self, event: &Event) {
        self.change_all(std::slice::from_ref(event));
    }

    /// Makes changes that are sent together.
    pub(crate) fn change_all(&self, events: &[Event]) {
        let mut state = self.state.lock().unwrap();
        for event in events {
            state.add(event);
        }
    }

    /// Makes a change of raw bytes.
    pub(crate) fn change_raw(&self, name: &str, data: &str) {
        let mut state = self.state.lock().unwrap();
        let id = cursor(state.changes.len() as u64 + 1);
        state.changes.push(format!("id: {id}\nevent: {name}\ndata: {data}\n\n").into_bytes());
    }

    /// Answers requests for changes with `answer` from now on.
    pub(crate) fn changes_answer(&self, answer: Option<Answer>) {
        self.state.lock().unwrap().instead = answer;
        self.cut();
    }

    /// Says nothing more on open connections.
    pub(crate) fn fall_silent(&self, is_silent: bool) {
        self.state.lock().unwrap().is_silent = is_silent;
    }

    /// Ends every open connection.
    pub(crate) fn cut(&self) {
        self.state.lock().unwrap().cut += 1;
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How many requests for `path` there were.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|head| head.starts_with(&format!("get {path}?"))).count()
    }

    /// How many reports to `path` there were, all of which are refused.
    pub(crate) fn reports(&self, path: &str) -> usize {
        self.requests().iter().filter(|head| head.starts_with(&format!("post {path} "))).count()
    }

    fn sequence(&self) -> u64 {
        self.state.lock().unwrap().changes.len() as u64
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        if head.starts_with("post ") {
            self.state.lock().unwrap().requests.push(head);
            // Not every service takes acknowledgements.
            return stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        self.state.lock().unwrap().requests.push(head.clone());
        if head.starts_with(&format!("get {}?", pushkeys_feed::CHANGES_PATH)) {
            let instead = self.state.lock().unwrap().instead.clone();
            return match instead {
                Some(answer) => say(&mut stream, &answer, &head),
                None => self.serve_changes(stream, &head),
            };
        }
        let answer = self.state.lock().unwrap().answer.clone().expect("a test says what is answered");
        say(&mut stream, &answer, &head)
    }

    fn serve_changes(&self, mut stream: TcpStream, head: &str) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n",
            pushkeys_feed::CHANGES_MEDIA_TYPE
        )?;
        let id = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
        let cut = self.state.lock().unwrap().cut;
        let sent = id.and_then(|id| id.parse::<Cursor>().ok()).filter(|id| id.epoch.as_str() == EPOCH);
        let Some(Cursor { sequence: mut sent, .. }) = sent.filter(|id| id.sequence <= self.sequence()) else {
            stream.write_all(b"event: reset\ndata: {}\n\n")?;
            std::thread::sleep(HEARTBEAT);
            return Ok(());
        };
        loop {
            let (next, sequence, is_silent) = {
                let state = self.state.lock().unwrap();
                if state.cut != cut {
                    return Ok(());
                }
                let next = state.changes.get(usize::try_from(sent).unwrap()..).unwrap_or_default().concat();
                (next, state.changes.len() as u64, state.is_silent)
            };
            if !is_silent {
                stream.write_all(&next)?;
                sent = sequence;
                write!(stream, "event: heartbeat\ndata: {{\"sequence\":{sequence}}}\n\n")?;
            }
            std::thread::sleep(HEARTBEAT / 4);
        }
    }
}

fn say(stream: &mut TcpStream, answer: &Answer, head: &str) -> std::io::Result<()> {
    match answer {
        Answer::Bytes(bytes) => stream.write_all(bytes),
        Answer::Silence(bytes) => {
            stream.write_all(bytes)?;
            // Until the client has had enough.
            stream.read(&mut [0]).map(|_| ())
        }
        Answer::Endless(bytes, more) => {
            stream.write_all(bytes)?;
            loop {
                stream.write_all(more)?;
            }
        }
        Answer::Tagged(tag, _) if head.contains(&format!("if-none-match: {tag}")) => {
            stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
        }
        Answer::Tagged(tag, body) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            stream.write_all(body)
        }
    }
}

fn cursor(sequence: u64) -> Cursor {
    Cursor { epoch: EPOCH.parse().unwrap(), sequence }
}
