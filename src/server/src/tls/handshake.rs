//! TLS handshakes with clients that are not known yet: bounded in time, and never in the way of another connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::PresentedCertificate;
use super::material::Tls;

/// How long a handshake may take: four packets over a bad line.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection: a record of the type `handshake` (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// The response to a client that speaks HTTP without TLS.
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this address speaks TLS\nhint: https:// in place of http://\n";
/// How much of a plain request is read, so that the client reads the response before the connection is reset.
const PLAIN_BYTES_MAX: u64 = 16 * 1024;

/// Why a handshake failed.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("the client took more than {} s", HANDSHAKE_TIME_MAX.as_secs())]
    Slow,
    #[error("the client does not speak TLS")]
    Plain,
    #[error("the handshake failed")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    /// The label in metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Plain => "plain",
            Self::Failed(_) => "failed",
        }
    }
}

impl Tls {
    /// Begins TLS with a client that has just connected; returns the stream, and the client's certificate if it presented one.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<PresentedCertificate>), HandshakeError> {
        timeout(HANDSHAKE_TIME_MAX, self.try_shake_hands(stream)).await.unwrap_or(Err(HandshakeError::Slow))
    }

    async fn try_shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<PresentedCertificate>), HandshakeError> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
            return Err(refuse_plain_text(stream).await);
        }
        let server = Arc::clone(&self.material().server);
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let presented =
            connection.peer_certificates().and_then(|chain| PresentedCertificate::new(chain, self.clone()));
        Ok((stream, presented))
    }
}

async fn refuse_plain_text(mut stream: TcpStream) -> HandshakeError {
    let answered = async {
        stream.write_all(PLAIN_ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PLAIN_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // The client may be gone.
    let _ = answered.await;
    HandshakeError::Plain
}
