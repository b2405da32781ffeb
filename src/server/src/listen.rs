//! Connections: how many are accepted, how long they may take to begin, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use pushkeys_keys::{ErrorReport, Hint, Hinted};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::metrics::Metrics;
use crate::tls::{ClientCertificate, PresentedCertificate, Tls};

/// Connections at once: 5,000 hosts, and room for those that reconnect while their old connections time out.
const CONNECTIONS_MAX: usize = 16_384;
/// Of them, those whose TLS handshake is not finished: room for a fleet that reconnects at once, while clients that never
/// finish it take no slots from hosts that have.
const HANDSHAKES_MAX: usize = CONNECTIONS_MAX / 2;
/// File descriptors for everything else.
const OTHER_FILES: u64 = 256;
/// How long a client may take to send the headers of a request.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(20);
/// The most bytes of headers, and of what is read ahead of a body.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 32;
/// How long requests may go on after the signal to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause after a connection that the system could not accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket that systemd keeps over restarts, so that no restart refuses a connection, or else a new one at `address`.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let Some(inherited) = ListenFd::from_env().take_tcp_listener(0)? else {
        return TcpListener::bind(address).await;
    };
    inherited.set_nonblocking(true)?;
    let listener = TcpListener::from_std(inherited)?;
    let actual = listener.local_addr()?;
    if actual != address {
        tracing::info!(%actual, %address, "`listen` is ignored: the socket is that of pushkeys-server.socket");
    }
    Ok(listener)
}

/// How connections are served.
#[derive(Clone)]
pub(crate) struct HttpServer {
    /// Answers requests, which carry the address of their connection and its [`ClientCertificate`] as extensions.
    pub(crate) router: Router,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Counts failed handshakes.
    pub(crate) metrics: Metrics,
    pub(crate) stopping: CancellationToken,
}

/// Serves connections until the signal to stop, and then finishes the requests that have begun.
pub(crate) async fn serve(listener: TcpListener, server: HttpServer) {
    raise_file_limit();
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            () = server.stopping.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            server: server.clone(),
            peer,
            builder: Arc::clone(&builder),
            handshakes: Arc::clone(&handshakes),
            watcher: graceful.watcher(),
        };
        tokio::spawn(async move {
            connection.run(stream).await;
            drop(slot);
        });
    }
    drop(listener);
    if timeout(STOP_TIME_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, which took longer than {} s", STOP_TIME_MAX.as_secs());
    }
}

/// One connection, from its acceptance to its end.
struct Connection {
    server: HttpServer,
    peer: SocketAddr,
    builder: Arc<auto::Builder<TokioExecutor>>,
    handshakes: Arc<Semaphore>,
    watcher: Watcher,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let Some(tls) = &self.server.tls else { return self.speak(stream, None).await };
        let Ok(handshake) = self.handshakes.try_acquire() else {
            return self.server.metrics.handshake_failed("crowded");
        };
        let handshake_result = tokio::select! {
            () = self.server.stopping.cancelled() => return,
            handshake_result = tls.shake_hands(stream) => handshake_result,
        };
        drop(handshake);
        match handshake_result {
            Ok((stream, presented)) => self.speak(stream, presented).await,
            Err(error) => {
                // Clients decide how often this happens, so it is counted and not logged.
                tracing::debug!(peer = %self.peer, "no TLS connection: {}", ErrorReport::of(&error));
                self.server.metrics.handshake_failed(error.kind());
            }
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        presented: Option<PresentedCertificate>,
    ) {
        let router = Extension(ClientCertificate(presented)).layer(self.server.router);
        let service = TowerToHyperService::new(Extension(self.peer).layer(router));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        // A broken connection is not logged: its requests have been.
        let _ = self.watcher.watch(connection).await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // An event is one small write, and its host waits for it.
    stream.set_nodelay(true)?;
    Ok((stream, peer, slot))
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME_MAX)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADERS_TIME_MAX)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// Most systems have a soft limit of 1024 files, which is less than a large fleet needs.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = CONNECTIONS_MAX as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        let hint = Hint::because("LimitNOFILE= in the unit", io::Error::from(error));
        let error = Hinted::new("cannot raise the limit of open files", hint);
        tracing::warn!("{}", ErrorReport::of(&error));
    }
}
