//! Metrics for Prometheus. No label holds anything that a client chose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use pushkeys_keys::ErrorReport;
use tokio::sync::Mutex;

use crate::store::{self, Store, Totals};

/// How long totals are kept: counting ten million rows takes a database a second.
const TOTALS_AGE_MAX: Duration = Duration::from_mins(1);
/// Bounds of the histogram in seconds: from a request that only reads to one that waits for a busy disk.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// The label of requests that match no route.
const NO_ROUTE: &str = "none";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    class: &'static str,
    /// As in the router, so that the number of labels is bounded.
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// Why the API refused a request, in one word; an extension of its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(pub(crate) &'static str);

/// The metrics of this process.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Answered, Counter>,
    seconds: Family<OfClass, Histogram, fn() -> Histogram>,
    refusals: Family<OfKind, Counter>,
    handshakes: Family<OfKind, Counter>,
    refused_connections: Counter,
    store: Store,
    totals: Arc<Mutex<Option<(Instant, Totals)>>>,
}

impl Metrics {
    pub(crate) fn new(store: Store) -> Self {
        let mut registry = Registry::with_prefix("pushkeys_server");
        let requests = Family::default();
        let seconds: Family<OfClass, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let refusals = Family::default();
        let handshakes = Family::default();
        let refused_connections = Counter::default();
        registry.register(
            "build",
            "The version of the service",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register("requests", "Requests by class of path, by route and by status", requests.clone());
        registry.register("request_seconds", "Time until a response began", seconds.clone());
        registry.register("refusals", "Requests that the API refused, by kind", refusals.clone());
        registry.register(
            "tls_handshakes_failed",
            "TLS connections that did not begin, by kind",
            handshakes.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were closed because their address has too many",
            refused_connections.clone(),
        );
        let registry = Arc::new(registry);
        Self {
            registry,
            requests,
            seconds,
            refusals,
            handshakes,
            refused_connections,
            store,
            totals: Arc::default(),
        }
    }

    /// The metrics in the text format of OpenMetrics; `streams` is the number of hosts that follow the changes.
    pub(crate) async fn text(&self, streams: u64) -> String {
        let mut now = Registry::with_prefix("pushkeys_server");
        let gauge = |registry: &mut Registry, name: &str, help: &str, number: u64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge(&mut now, "streams", "Hosts that follow the changes", streams);
        let errors: Counter = Counter::default();
        errors.inc_by(store::errors());
        now.register("database_errors", "Statements that the database did not do", errors);
        for (name, help, number) in [
            ("epochs_begun", "New epochs because the database lost changes", store::epochs_begun()),
            (
                "key_sum_differences",
                "Times that the table of keys was not what hosts were told",
                store::sum_differences(),
            ),
        ] {
            let counter: Counter = Counter::default();
            counter.inc_by(number);
            now.register(name, help, counter);
        }
        match self.store.feed_state().await {
            Ok(state) => {
                gauge(&mut now, "sequence", "The number of the last change", state.head.cursor.sequence);
            }
            Err(error) => {
                tracing::warn!("metrics are served without the database: {}", ErrorReport::of(&error));
            }
        }
        if let Some(totals) = self.totals().await {
            gauge(&mut now, "keys", "Keys that are registered, as of a minute ago at most", totals.keys);
            gauge(&mut now, "accounts", "Accounts, as of a minute ago at most", totals.accounts);
            gauge(&mut now, "hosts", "Hosts that are registered, as of a minute ago at most", totals.hosts);
            gauge(&mut now, "mails_waiting", "Mails to be sent, as of a minute ago at most", totals.mails);
            let help = "Host keys of hosts that are not accepted, as of a minute ago at most";
            gauge(&mut now, "host_keys_waiting", help, totals.host_keys_waiting);
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.registry);
        let _ = encode(&mut text, &now);
        text
    }

    /// Counts a failed TLS handshake.
    pub(crate) fn handshake_failed(&self, kind: &'static str) {
        self.handshakes.get_or_create(&OfKind { kind }).inc();
    }

    /// Counts a connection that was closed because its address has too many.
    pub(crate) fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    async fn totals(&self) -> Option<Totals> {
        let mut known = self.totals.lock().await;
        if let Some((_, totals)) = known.filter(|(at, _)| at.elapsed() < TOTALS_AGE_MAX) {
            return Some(totals);
        }
        match self.store.totals().await {
            Ok(totals) => {
                *known = Some((Instant::now(), totals));
                Some(totals)
            }
            Err(error) => {
                tracing::warn!("metrics are served without totals: {}", ErrorReport::of(&error));
                None
            }
        }
    }
}

/// Counts a request. A stream counts when it begins.
pub(crate) async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let class = class_of(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let begin = Instant::now();
    let response = next.run(request).await;
    metrics.seconds.get_or_create(&OfClass { class }).observe(begin.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&Answered { class, route, status: response.status().as_u16() }).inc();
    if let Some(Refused(kind)) = response.extensions().get() {
        metrics.refusals.get_or_create(&OfKind { kind }).inc();
    }
    response
}

/// The class of a path, since a path itself is the client's choice.
fn class_of(path: &str) -> &'static str {
    match path {
        pushkeys_feed::SNAPSHOT_PATH => "snapshot",
        pushkeys_feed::CHANGES_PATH => "changes",
        "/healthz" | "/livez" => "health",
        "/" | "/cli-oauth" | "/sign-out" => "console",
        "/openapi.json" | "/known_hosts" => "api",
        _ if path.starts_with("/v1/feed/") => "feed",
        _ if path.starts_with("/v2/") => "api",
        _ if path.starts_with("/users/me") || path.starts_with("/sign-in") => "console",
        _ if path.starts_with("/assets/") => "assets",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_makes_a_label_of_its_own() {
        let check = |path: &str, expected: &str| assert_eq!(class_of(path), expected, "{path}");
        check("/v2/self/keys/laptop", "api");
        check("/v1/feed/changes", "changes");
        check("/v1/feed/snapshot", "snapshot");
        check("/v1/feed/usage", "feed");
        check("/known_hosts", "api");
        check("/v1/feed/host-keys", "feed");
        check("/healthz", "health");
        check("/users/me/ssh-keys", "console");
        check("/sign-in/oidc/callback", "console");
        check("/cli-oauth", "console");
        check("/assets/console-0123.css", "assets");
        check("/console", "other");
        check("/\"\n", "other");
    }
}
