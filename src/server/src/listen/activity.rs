//! What a connection is busy with, which decides how long it may last.
//!
//! A connection has to send a request soon, may then be idle for as long as proxies keep connections, and ends when its
//! client stops reading a response. All of this holds for HTTP/1 and HTTP/2 alike: a response is tracked by its body, of
//! which the protocol takes a piece only once it has room for it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// How long a client may take to its first request: a preface of HTTP/2, or all headers of HTTP/1.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection without a request is kept, or one that sends the headers of another one. Proxies keep theirs for
/// a minute (nginx) and must not find one closed that they are about to use.
const IDLE_TIME_MAX: Duration = Duration::from_secs(65);
/// How long a client may take to read one piece of a response, of some hundred kilobytes at most.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a busy connection is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The requests of one connection; clones share them.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    /// The requests whose responses have not ended.
    exchanges: Vec<Exchange>,
    next_id: u64,
    has_served: bool,
    /// When the connection began, or its last response ended.
    idle_since: Instant,
}

/// A request and its response.
struct Exchange {
    id: u64,
    /// Since when a piece of the response waits for the client.
    waits_since: Option<Instant>,
}

/// What is to become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It may go on, until the next check.
    Again(Instant),
    /// Its client has sent no request in time.
    Silent,
    /// It has no request and had none for too long.
    Idle,
    /// Its client does not read.
    Stalled,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new(Instant::now()))))
    }

    /// Whether the connection may go on at `now`.
    pub(super) fn check(&self, now: Instant) -> Check {
        self.lock().check(now)
    }

    /// Begins a request.
    pub(super) fn begin(&self) -> Guard {
        Guard { activity: self.clone(), id: self.lock().begin() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { exchanges: Vec::new(), next_id: 0, has_served: false, idle_since: now }
    }

    fn check(&self, now: Instant) -> Check {
        if self.exchanges.is_empty() {
            let (limit, over) =
                if self.has_served { (IDLE_TIME_MAX, Check::Idle) } else { (BEGIN_TIME_MAX, Check::Silent) };
            let ends_at = self.idle_since + limit;
            return if ends_at <= now { over } else { Check::Again(ends_at) };
        }
        let again = now + CHECK_INTERVAL;
        match self.exchanges.iter().filter_map(|exchange| exchange.waits_since).min() {
            Some(since) if since + PIECE_TIME_MAX <= now => Check::Stalled,
            Some(since) => Check::Again(again.min(since + PIECE_TIME_MAX)),
            None => Check::Again(again),
        }
    }

    fn begin(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.has_served = true;
        self.exchanges.push(Exchange { id, waits_since: None });
        id
    }

    /// Takes note that a piece of the response `id` waits for the client since then, or that none does.
    fn wait(&mut self, id: u64, since: Option<Instant>) {
        if let Some(exchange) = self.exchanges.iter_mut().find(|exchange| exchange.id == id) {
            exchange.waits_since = since;
        }
    }

    fn end(&mut self, id: u64, now: Instant) {
        self.exchanges.retain(|exchange| exchange.id != id);
        if self.exchanges.is_empty() {
            self.idle_since = now;
        }
    }
}

/// A request that has not ended, until it is dropped.
pub(super) struct Guard {
    activity: Activity,
    id: u64,
}

impl Guard {
    /// `body`, with which the request ends.
    pub(super) fn track(self, body: Body) -> Body {
        Body::new(TrackedBody { body, guard: self })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.activity.lock().end(self.id, Instant::now());
    }
}

struct TrackedBody {
    body: Body,
    guard: Guard,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let tracked = self.get_mut();
        let polled = Pin::new(&mut tracked.body).poll_frame(context);
        let is_piece = matches!(polled, Poll::Ready(Some(Ok(_))));
        let Guard { activity, id } = &tracked.guard;
        activity.lock().wait(*id, is_piece.then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_has_to_send_a_request_soon_and_may_then_be_idle_for_longer() {
        let begun_at = Instant::now();
        let mut state = State::new(begun_at);
        assert_eq!(state.check(begun_at + SECOND), Check::Again(begun_at + BEGIN_TIME_MAX));
        assert_eq!(state.check(begun_at + BEGIN_TIME_MAX), Check::Silent);
        let (one, two) = (state.begin(), state.begin());
        let later = begun_at + IDLE_TIME_MAX * 100;
        state.end(one, later);
        assert_eq!(state.check(later), Check::Again(later + CHECK_INTERVAL), "a long response is no fault");
        state.end(two, later);
        assert_eq!(state.check(later + BEGIN_TIME_MAX), Check::Again(later + IDLE_TIME_MAX));
        assert_eq!(state.check(later + IDLE_TIME_MAX), Check::Idle);
    }

    #[test]
    fn a_client_that_takes_no_piece_is_told_from_one_that_takes_them_slowly() {
        let begun_at = Instant::now();
        let mut state = State::new(begun_at);
        let (slow, stalled) = (state.begin(), state.begin());
        state.wait(stalled, Some(begun_at));
        let later = begun_at + PIECE_TIME_MAX - SECOND;
        state.wait(slow, Some(later));
        assert_eq!(state.check(later), Check::Again(begun_at + PIECE_TIME_MAX));
        assert_eq!(state.check(later + SECOND), Check::Stalled);
        state.wait(stalled, None);
        assert!(matches!(state.check(later + SECOND), Check::Again(_)));
    }

    #[tokio::test]
    async fn a_piece_waits_from_when_it_is_handed_out_until_the_next_one_is_asked_for() {
        let activity = Activity::new();
        let waits = || activity.lock().exchanges.iter().any(|exchange| exchange.waits_since.is_some());
        let mut body = activity.begin().track(Body::from("one"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!waits());
        let mut next = async || poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(next().await.is_some());
        assert!(waits());
        assert!(next().await.is_none());
        assert!(!waits());
        drop(body);
        assert!(activity.lock().exchanges.is_empty());
    }
}
