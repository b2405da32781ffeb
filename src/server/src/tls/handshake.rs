//! The beginning of a connection, which a stranger decides: it has its time and its room, and never holds up another one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::ShownCertificate;
use super::material::Tls;

/// How long a client may take: four packets, over a bad line.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// What a TLS connection begins with: a record of the kind `handshake` (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// The answer to whoever speaks HTTP without TLS.
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this address speaks TLS\nhint: https:// in place of http://\n";
/// How much of a plain request is read, so that its sender reads the answer before it is told that nobody listens.
const PLAIN_BYTES_MAX: u64 = 16 * 1024;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("the client took more than {} s", HANDSHAKE_TIME_MAX.as_secs())]
    Slow,
    #[error("the client speaks no TLS")]
    Plain,
    #[error("the handshake failed")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    /// In one word, for numbers.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Plain => "plain",
            Self::Failed(_) => "failed",
        }
    }
}

impl Tls {
    /// Speaks TLS with a client that has just connected, and gives the certificate that it showed.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<ShownCertificate>), HandshakeError> {
        timeout(HANDSHAKE_TIME_MAX, self.try_shake_hands(stream)).await.unwrap_or(Err(HandshakeError::Slow))
    }

    async fn try_shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<ShownCertificate>), HandshakeError> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
            return Err(refuse_plain_text(stream).await);
        }
        let server = Arc::clone(&self.material().server);
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let shown =
            connection.peer_certificates().and_then(|chain| ShownCertificate::new(chain, self.clone()));
        Ok((stream, shown))
    }
}

async fn refuse_plain_text(mut stream: TcpStream) -> HandshakeError {
    let answered = async {
        stream.write_all(PLAIN_ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PLAIN_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whoever does not wait for the answer does not want one.
    let _ = answered.await;
    HandshakeError::Plain
}
