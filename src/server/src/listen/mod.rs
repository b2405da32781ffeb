//! Connections: how many are accepted, how long they may last, and how they end.

mod activity;
mod connection;
mod lingering;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use listenfd::ListenFd;
use pushkeys_keys::{ErrorReport, Hint, Hinted};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use self::connection::Connection;
pub(crate) use self::server::HttpServer;
use crate::concurrency::Concurrency;
use crate::rate_limit::Peer;

/// Connections at once: 5,000 hosts, and room for those that reconnect while their old connections time out.
const CONNECTIONS_MAX: usize = 16_384;
/// Of them, those whose TLS handshake is not finished: room for a fleet that reconnects at once, while clients that never
/// finish it take no slots from hosts that have.
const HANDSHAKES_MAX: usize = CONNECTIONS_MAX / 2;
/// File descriptors for everything else.
const OTHER_FILES: u64 = 256;
/// How often a client of HTTP/2 is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
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

/// Serves connections until the signal to stop, and then finishes the requests that have begun.
pub(crate) async fn serve(listener: TcpListener, server: HttpServer) {
    raise_file_limit();
    let connections = TaskTracker::new();
    let builder = Arc::new(builder());
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let of_peers = Concurrency::new(server.connections_per_address_max);
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
        let is_proxy = server.limits.is_trusted_proxy(peer.ip());
        let peer_slot = if is_proxy { None } else { of_peers.begin(Peer::from(peer.ip())) };
        if peer_slot.is_none() && !is_proxy {
            server.refuse(&stream);
            continue;
        }
        let connection = Connection {
            server: server.clone(),
            peer,
            builder: Arc::clone(&builder),
            handshakes: Arc::clone(&handshakes),
        };
        connections.spawn(async move {
            connection.run(stream).await;
            drop((slot, peer_slot));
        });
    }
    drop(listener);
    connections.close();
    if timeout(STOP_TIME_MAX, connections.wait()).await.is_err() {
        tracing::warn!("requests were cut off, which took longer than {} s", STOP_TIME_MAX.as_secs());
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
        // The time of headers is that of the connection: see `activity`.
        .header_read_timeout(None)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
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
