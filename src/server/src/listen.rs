//! Connections: how many, how long their beginning may take, and how they end.

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
use crate::tls::{ClientCertificate, ShownCertificate, Tls};

/// Connections at once: 5,000 hosts with room for those that come back while their old ones time out.
const CONNECTIONS_MAX: usize = 16_384;
/// Of them, those that have not shaken hands yet: a fleet that comes back at once, while strangers take no host's place.
const HANDSHAKES_MAX: usize = CONNECTIONS_MAX / 2;
/// File descriptors for everything that is no connection.
const OTHER_FILES: u64 = 256;
/// How long a client may take to send the headers of a request.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(20);
/// The most bytes of headers, and of what is read ahead of a body.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 32;
/// How long requests may go on after the order to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long accepting rests when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket that systemd holds over restarts, so that none of them refuses a connection; without one, a new one at `address`.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let Some(inherited) = ListenFd::from_env().take_tcp_listener(0)? else {
        return TcpListener::bind(address).await;
    };
    inherited.set_nonblocking(true)?;
    let listener = TcpListener::from_std(inherited)?;
    let actual = listener.local_addr()?;
    if actual != address {
        tracing::info!(%actual, %address, "`listen` is not asked: the socket is that of pushkeys-server.socket");
    }
    Ok(listener)
}

/// How to serve whoever connects.
#[derive(Clone)]
pub(crate) struct Door {
    /// What requests are answered by. They carry their connection's address and its [`ClientCertificate`] as extensions.
    pub(crate) router: Router,
    /// Where it is not plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Counts connections that did not begin.
    pub(crate) metrics: Metrics,
    pub(crate) stopping: CancellationToken,
}

/// Serves whoever connects until the order to stop, and then what was begun.
pub(crate) async fn serve(listener: TcpListener, door: Door) {
    raise_file_limit();
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            () = door.stopping.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            door: door.clone(),
            peer,
            builder: Arc::clone(&builder),
            handshakes: Arc::clone(&handshakes),
            watcher: graceful.watcher(),
        };
        tokio::spawn(async move {
            connection.run(stream).await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(STOP_TIME_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, which took longer than {} s", STOP_TIME_MAX.as_secs());
    }
}

/// One connection, from its acceptance to its end.
struct Connection {
    door: Door,
    peer: SocketAddr,
    builder: Arc<auto::Builder<TokioExecutor>>,
    handshakes: Arc<Semaphore>,
    watcher: Watcher,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let Some(tls) = &self.door.tls else { return self.speak(stream, None).await };
        let Ok(handshake) = self.handshakes.try_acquire() else {
            return self.door.metrics.handshake_failed("crowded");
        };
        let shaken = tokio::select! {
            () = self.door.stopping.cancelled() => return,
            shaken = tls.shake_hands(stream) => shaken,
        };
        drop(handshake);
        match shaken {
            Ok((stream, shown)) => self.speak(stream, shown).await,
            Err(error) => {
                // Strangers decide how often that happens, so it is counted and not told.
                tracing::debug!(peer = %self.peer, "no TLS connection: {}", ErrorReport::of(&error));
                self.door.metrics.handshake_failed(error.kind());
            }
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        shown: Option<ShownCertificate>,
    ) {
        let router = Extension(ClientCertificate(shown)).layer(self.door.router);
        let service = TowerToHyperService::new(Extension(self.peer).layer(router));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        // A client that breaks off is no event: what it asked for has been logged.
        let _ = self.watcher.watch(connection).await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // An event is one small write that somebody waits for.
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
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

/// The soft limit of most systems, 1024 files, is fewer than there are hosts.
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
