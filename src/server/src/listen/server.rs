//! What every connection is served with.

use axum::Router;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rate_limit::Limits;
use crate::tls::Tls;

/// The response to a client that has too many connections.
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain\r\nretry-after: 10\r\nconnection: close\r\n\
    content-length: 43\r\n\r\ntoo many connections are from this address\n";
/// How connections are served.
#[derive(Clone)]
pub(crate) struct HttpServer {
    /// Answers requests, which carry the address of their connection and its [`ClientCertificate`] as extensions.
    pub(crate) router: Router,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Counts refused connections and failed handshakes.
    pub(crate) metrics: Metrics,
    /// Knows trusted proxies, which may have all connections.
    pub(crate) limits: Limits,
    /// The most connections of one address, or of one /64 of IPv6.
    pub(crate) connections_per_address_max: usize,
    pub(crate) stopping: CancellationToken,
}

impl HttpServer {
    /// Closes the connection of a client that has too many.
    pub(super) fn refuse(&self, stream: &TcpStream) {
        self.metrics.connection_refused();
        if self.tls.is_none() {
            // The socket has room for it; a client that is gone reads nothing.
            let _ = stream.try_write(TOO_MANY_CONNECTIONS);
        }
    }
}
