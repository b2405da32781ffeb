//! A stream that is closed so that its client reads the last response (RFC 9112, section 9.6).
//!
//! A client may still send the body of a request that was refused. If the socket were closed with bytes that nobody has
//! read, the client would be told so at once, and might never see why its request was refused.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// For how long, and how many bytes, are read and dropped.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes at once.
const READ_BYTES: usize = 8 * 1024;

/// See the module.
pub(super) struct Lingering<S> {
    stream: S,
    /// Once the client was told that nothing more is sent.
    rest: Option<Rest>,
}

struct Rest {
    bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, rest: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, rest } = self.get_mut();
        let rest = if let Some(rest) = rest {
            rest
        } else {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            rest.insert(Rest { bytes: LINGER_BYTES_MAX, until: Box::pin(sleep(LINGER_TIME_MAX)) })
        };
        let mut buffer = [0; READ_BYTES];
        while rest.bytes > 0 && rest.until.as_mut().poll(context).is_pending() {
            let mut into = ReadBuf::new(&mut buffer);
            // The end of the stream, or an error, is what is waited for.
            if ready!(Pin::new(&mut *stream).poll_read(context, &mut into)).is_err()
                || into.filled().is_empty()
            {
                break;
            }
            rest.bytes = rest.bytes.saturating_sub(into.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}
