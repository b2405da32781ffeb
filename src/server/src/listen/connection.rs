//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pushkeys_keys::ErrorReport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::activity::{Activity, Check};
use super::lingering::Lingering;
use super::server::HttpServer;
use crate::tls::{ClientCertificate, PresentedCertificate};

/// How long an idle connection that was told to end may take to do so.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) server: HttpServer,
    pub(super) peer: SocketAddr,
    pub(super) builder: Arc<auto::Builder<TokioExecutor>>,
    /// Slots for connections whose handshake is not finished.
    pub(super) handshakes: Arc<Semaphore>,
}

impl Connection {
    /// Serves it until its end.
    pub(super) async fn run(self, stream: TcpStream) {
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
        let activity = Activity::new();
        let router = Extension(ClientCertificate(presented)).layer(self.server.router);
        let router = Extension(self.peer).layer(router);
        let service = {
            let activity = activity.clone();
            service_fn(move |request: Request<_>| {
                let (router, exchange) = (router.clone(), activity.begin());
                async move {
                    let response = router.oneshot(request).await?;
                    Ok::<_, Infallible>(response.map(|body| exchange.track(body)))
                }
            })
        };
        let stream = TokioIo::new(Lingering::new(stream));
        let mut connection = pin!(self.builder.serve_connection(stream, TowerToHyperService::new(service)));
        let (mut check_at, mut is_closing) = (Instant::now(), false);
        loop {
            tokio::select! {
                // A broken connection is not logged: its requests have been.
                _ = connection.as_mut() => return,
                () = self.server.stopping.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(check_at) => match activity.check(Instant::now()) {
                    Check::Again(at) => check_at = at,
                    Check::Idle if !is_closing => {
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                        check_at = Instant::now() + CLOSE_TIME_MAX;
                    }
                    Check::Silent | Check::Idle | Check::Stalled => return,
                }
            }
        }
    }
}
