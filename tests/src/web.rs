//! A web server whose responses a test defines. It reads whole requests, one for each connection.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reqwest::Url;

/// A connection is closed after this time without data.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 100;
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// A whole request.
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// `GET`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The fields of the query or of a form.
    pub fields: HashMap<String, String>,
    /// The headers by lower-case name.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: String,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebResponse {
    /// The status code.
    pub status: u16,
    /// Headers besides length and type.
    pub headers: Vec<(&'static str, String)>,
    /// The body, usually JSON.
    pub body: String,
}

impl WebResponse {
    /// A JSON response.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string() }
    }

    /// A redirect.
    #[must_use]
    pub fn see(url: &Url) -> Self {
        Self { status: 302, headers: vec![("Location", url.to_string())], body: String::new() }
    }

    /// Replaces members of the JSON object in the body.
    ///
    /// # Panics
    ///
    /// If the body is not a JSON object.
    pub fn replaces_members(&mut self, members: &serde_json::Value) {
        let mut body: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        let object = body.as_object_mut().expect("an object");
        object.extend(members.as_object().cloned().unwrap_or_default());
        self.body = body.to_string();
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server that runs until the test ends.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
}

impl WebServer {
    /// Starts a server with the responses of `answer`.
    #[must_use]
    pub fn start(answer: impl Fn(&WebRequest) -> WebResponse + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(&stream, &*answer));
            }
        });
        Self { address }
    }

    /// The base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(stream: &TcpStream, answer: &(impl Fn(&WebRequest) -> WebResponse + ?Sized)) {
    let _ = stream.set_read_timeout(Some(SILENCE_MAX));
    let Some(asked) = read(stream) else { return };
    let WebResponse { status, headers, body } = answer(&asked);
    let mut head = format!("HTTP/1.1 {status} .\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in [("Content-Type", "application/json".to_owned())].iter().chain(&headers) {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let mut stream = stream;
    // In some tests the client disconnects during the response.
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
}

fn read(stream: &TcpStream) -> Option<WebRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    for _ in 0..HEADERS_MAX {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = String::new();
    reader.take(u64::min(length, BODY_BYTES_MAX)).read_to_string(&mut body).ok()?;
    let url = Url::parse(&format!("http://here{target}")).ok()?;
    let mut fields: HashMap<String, String> = url.query_pairs().into_owned().collect();
    if headers.get("content-type").is_some_and(|media_type| media_type.contains("form-urlencoded")) {
        let form = Url::parse(&format!("http://here/?{body}")).ok()?;
        fields.extend(form.query_pairs().into_owned());
    }
    Some(WebRequest { method, path: url.path().to_owned(), fields, headers, body })
}
