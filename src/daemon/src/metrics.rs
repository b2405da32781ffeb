//! The metrics endpoint for Prometheus: `GET /metrics` on a loopback port or a Unix socket.
//!
//! It implements the part of HTTP that a scrape needs, and keeps no state: the text is made for each request. Access is
//! controlled by the address alone, so only addresses of this machine are accepted.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The maximum number of concurrent scrapes; one Prometheus makes one.
const CONNECTIONS_MAX: usize = 8;
/// The time limit of a scrape, from the first byte of the request to the last of the response.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest request in bytes, headers included.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// The pause of accepting after an error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The daemon's group may connect.
const SOCKET_MODE: u32 = 0o660;
/// OpenMetrics 1.0.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A local address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A loopback address; port 0 takes a free port.
    Loopback(SocketAddr),
    /// The path of a Unix socket.
    Socket(PathBuf),
}

/// Why a text is not a local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a loopback address such as \"127.0.0.1:9184\", or the absolute path of a socket")]
pub struct ParseAddressError;

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if Path::new(text).is_absolute() {
            return Ok(Self::Socket(text.into()));
        }
        let address: SocketAddr = text.parse().map_err(|_| ParseAddressError)?;
        if address.ip().is_loopback() { Ok(Self::Loopback(address)) } else { Err(ParseAddressError) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => write!(out, "{address}"),
            Self::Socket(path) => write!(out, "{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// See [`Address::Loopback`].
    Loopback(TcpListener),
    /// See [`Address::Socket`].
    Socket(UnixListener),
}

impl Listener {
    /// Listens on `address`. A socket of an earlier process is replaced; any other file is an error.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Loopback(address) => TcpListener::bind(address).await.map(Self::Loopback),
            Address::Socket(path) => {
                if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
                Ok(Self::Socket(listener))
            }
        }
    }

    /// The address, with the actual port.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Loopback(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Socket(listener) => {
                let address = listener.local_addr()?;
                Ok(address.as_pathname().map_or_else(String::new, |path| path.display().to_string()))
            }
        }
    }

    /// Answers every scrape with the result of `text`, until the task is aborted.
    pub async fn serve<F, T>(self, text: F)
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = String> + Send + 'static,
    {
        let (text, slots) = (Arc::new(text), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let stream: io::Result<Box<dyn Stream>> = match &self {
                Self::Loopback(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
                Self::Socket(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
            };
            let Ok(stream) = stream else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let text = Arc::clone(&text);
            tokio::spawn(async move {
                // A failed scrape is repeated by the client.
                let _ = timeout(SCRAPE_TIME_MAX, answer(stream, &*text)).await;
                drop(slot);
            });
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn answer<T>(mut stream: Box<dyn Stream>, text: impl Fn() -> T) -> io::Result<()>
where
    T: Future<Output = String>,
{
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if request.len() >= REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let path = words.nth(1).and_then(|target| target.split('?').next());
    let is_head = line.starts_with("HEAD ");
    let (status, media_type, body) = match (is_head || line.starts_with("GET "), path) {
        (true, Some("/metrics")) => ("200 OK", MEDIA_TYPE, text().await),
        (true, _) => ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned()),
        (false, _) => ("405 Method Not Allowed", "text/plain", "only GET and HEAD are answered\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nAllow: GET, HEAD\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !is_head {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    #[test]
    fn only_local_addresses_are_accepted() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Address>().is_ok(), expected, "{text}");
        check("127.0.0.1:9184", true);
        check("[::1]:9184", true);
        check("/run/pushkeys/metrics.sock", true);
        check("0.0.0.0:9184", false);
        check("[::]:9184", false);
        check("192.0.2.1:9184", false);
        check("metrics.sock", false);
        check("", false);
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_scrape_is_answered_and_nothing_else() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        tokio::spawn(listener.serve(|| async { "up 1\n".to_owned() }));
        let get = async |request: &str| ask(TcpStream::connect(&address).await.unwrap(), request).await;
        let scrape = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n") && scrape.ends_with("\r\n\r\nup 1\n"), "{scrape}");
        assert!(get("GET /metrics?x=1 HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        let head = get("HEAD /metrics HTTP/1.1\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 5\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert!(get("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(get("POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        assert_eq!(get(&"x".repeat(REQUEST_BYTES_MAX)).await, "");
    }

    #[tokio::test]
    async fn a_socket_replaces_an_old_socket_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        let address = Address::Socket(path.clone());
        drop(Listener::bind(&address).await.unwrap());
        let listener = Listener::bind(&address).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        tokio::spawn(listener.serve(|| async { "up 1\n".to_owned() }));
        let answer = ask(UnixStream::connect(&path).await.unwrap(), "GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(answer.ends_with("up 1\n"), "{answer}");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Listener::bind(&Address::Socket(file.clone())).await.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }
}
