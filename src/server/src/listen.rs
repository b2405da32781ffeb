//! Connections: how many, how long their headers may take, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

/// Connections at once: 5,000 hosts with room for those that come back while their old ones time out.
const CONNECTIONS_MAX: usize = 16_384;
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

/// Serves `router`, whose requests carry their connection's address as an extension, until `stopping` is cancelled, and then what was begun.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) {
    raise_file_limit();
    let graceful = GracefulShutdown::new();
    let builder = builder();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
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
        let service = TowerToHyperService::new(Extension(peer).layer(router.clone()));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no event: what it asked for has been logged.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(STOP_TIME_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, which took longer than {} s", STOP_TIME_MAX.as_secs());
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
        tracing::warn!("cannot raise the limit of open files: {error}, hint: LimitNOFILE= in the unit");
    }
}
