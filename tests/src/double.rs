//! A test double of a key service, which answers every request with the same bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pushkeys_keys::Fingerprint;
use sha2::{Digest as _, Sha256};

/// A connection is closed after this time without data.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A web server for a source of kind `poll`.
#[derive(Debug)]
pub struct Double {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Double {
    /// Starts a server that always sends `answer`, a whole HTTP response.
    #[must_use]
    pub fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let double = Self { address, answer: Arc::new(Mutex::new(answer)) };
        let answer = Arc::clone(&double.answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                respond(stream, &bytes);
            }
        });
        double
    }

    /// The URL to poll.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Changes the answer.
    pub fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

fn respond(mut stream: TcpStream, answer: &[u8]) {
    let _ = stream.set_read_timeout(Some(SILENCE_MAX));
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut byte) {
            Ok(1) => request.extend(byte),
            _ => return,
        }
    }
    // In some tests the client disconnects during the response.
    let _ = stream.write_all(answer);
}

/// A response with the status line `status` and a body of `media_type`.
#[must_use]
pub fn response(status: &str, media_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A snapshot in the key service's format with `entries`, each the JSON object of one key.
#[must_use]
pub fn snapshot(entries: &[(Fingerprint, serde_json::Value)]) -> String {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(fingerprint, _)| *fingerprint);
    let mut text =
        "{\"pushkeys\":\"snapshot\",\"format\":1,\"epoch\":\"double\",\"sequence\":1}\n".to_owned();
    for (_, entry) in &entries {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    let digest = Sha256::digest(&text);
    let trailer = format!("{{\"end\":true,\"entries\":{},\"sha256\":\"{digest:x}\"}}\n", entries.len());
    text + &trailer
}
