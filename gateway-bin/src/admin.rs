//! The admin endpoints: readiness, metrics and the configuration in service. Read-only.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use towergate_core::gateway::PolicyFault;
use towergate_core::plan::{Endpoints, Plan};
use towergate_core::prometheus;
use towergate_policy::Policy;

use crate::metrics::Metrics;

/// The state that the admin endpoints show.
#[derive(Default)]
pub(crate) struct Admin {
    ready: AtomicBool,
    metrics: Arc<Metrics>,
    config: Mutex<(Arc<Plan<Policy>>, Arc<Endpoints>)>,
}

impl Admin {
    /// The state of a gateway without a configuration.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Sets whether `/ready` returns 200.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether `/ready` returns 200.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Replaces the configuration that `/config` returns.
    pub(crate) fn show(&self, plan: Arc<Plan<Policy>>, endpoints: Arc<Endpoints>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = (plan, endpoints);
    }

    fn config(&self) -> Value {
        let (plan, endpoints) = self
            .config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let endpoints: serde_json::Map<String, Value> = endpoints
            .iter()
            .map(|(backend, all)| {
                let all: Vec<Value> = all
                    .iter()
                    .map(|e| json!({"address": e.address.to_string(), "weight": e.weight}))
                    .collect();
                (backend.to_string(), all.into())
            })
            .collect();
        let mut plan =
            serde_json::to_value(&*plan).unwrap_or_else(|error| error.to_string().into());
        redact(&mut plan);
        let faults = self.metrics.policy_faults();
        let faults: Vec<Value> = faults.iter().map(fault).collect();
        json!({"plan": plan, "endpoints": endpoints, "policyFaults": faults})
    }
}

/// A policy that cannot be enforced, as JSON.
fn fault(fault: &PolicyFault) -> Value {
    json!({
        "route": *fault.route,
        "rule": fault.rule,
        "policy": fault.stage,
        "reason": fault.reason,
    })
}

/// Serves the admin endpoints until `stop`.
///
/// # Errors
/// If the socket is not bound.
pub(crate) fn serve(
    listener: TcpListener,
    admin: Arc<Admin>,
    stop: CancellationToken,
) -> io::Result<()> {
    let bound = listener.local_addr()?;
    tracing::info!(address = %bound, "admin endpoints: /live /ready /stats/prometheus /config /version");
    if !bound.ip().is_loopback() {
        tracing::warn!(address = %bound, "the admin endpoints are reachable from other hosts and have no authentication");
    }
    serve_routes(listener, routes(admin), stop);
    Ok(())
}

/// Serves readiness and metrics until `stop`. Unlike the admin endpoints, they do not expose the
/// configuration, so they can be reachable from other hosts.
///
/// # Errors
/// If the socket is not bound.
pub(crate) fn serve_health(
    listener: TcpListener,
    admin: Arc<Admin>,
    stop: CancellationToken,
) -> io::Result<()> {
    let bound = listener.local_addr()?;
    tracing::info!(address = %bound, "health endpoints: /live /ready /stats/prometheus");
    let routes = health().layer(CatchPanicLayer::new()).with_state(admin);
    serve_routes(listener, routes, stop);
    Ok(())
}

fn serve_routes(listener: TcpListener, routes: Router, stop: CancellationToken) {
    tokio::spawn(async move {
        let server = axum::serve(listener, routes);
        let server = server.with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "admin endpoints stopped");
        }
    });
}

fn health() -> Router<Arc<Admin>> {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/stats/prometheus", get(metrics))
}

fn routes(admin: Arc<Admin>) -> Router {
    health()
        .route("/config", get(config))
        .route("/version", get(version))
        // A panic in a handler returns 500 instead of closing the connection.
        .layer(CatchPanicLayer::new())
        .with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    if admin.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)],
        admin.metrics.render(),
    )
}

async fn config(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let text = serde_json::to_string_pretty(&admin.config()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text + "\n")
}

async fn version() -> &'static str {
    concat!("towergate ", env!("CARGO_PKG_VERSION"), "\n")
}

/// Replaces private keys, and every field whose name suggests a secret.
fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if is_secret(key) && !value.is_null() {
                    *value = "(hidden)".into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key == "key_pem"
        || ["secret", "password", "credential", "htpasswd"]
            .iter()
            .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn bind() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("a listener");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is sent");
        let mut response = String::new();
        stream
            .read_to_string(&mut response)
            .await
            .expect("a response");
        response
    }

    #[tokio::test]
    async fn readiness_metrics_and_version_are_served() {
        let admin = Arc::new(Admin::default());
        let (listener, address) = bind().await;
        serve(listener, Arc::clone(&admin), CancellationToken::new()).expect("a bound socket");

        assert!(fetch(address, "/ready").await.starts_with("HTTP/1.1 503"));
        admin.set_ready(true);
        assert!(fetch(address, "/ready").await.starts_with("HTTP/1.1 200"));
        assert!(
            fetch(address, "/stats/prometheus")
                .await
                .contains("\nenvoy_server_live 1\n")
        );
        assert!(
            fetch(address, "/version")
                .await
                .contains(env!("CARGO_PKG_VERSION"))
        );
        assert!(fetch(address, "/config").await.contains("\"ports\": []"));
        assert!(fetch(address, "/other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn the_health_page_shows_no_configuration() {
        let admin = Arc::new(Admin::default());
        let (listener, address) = bind().await;
        serve_health(listener, Arc::clone(&admin), CancellationToken::new())
            .expect("a bound socket");

        admin.set_ready(true);

        assert!(fetch(address, "/ready").await.starts_with("HTTP/1.1 200"));
        let metrics = fetch(address, "/stats/prometheus").await;
        assert!(metrics.contains("\nenvoy_server_live 1\n"));
        for path in ["/config", "/version", "/"] {
            assert!(
                fetch(address, path).await.starts_with("HTTP/1.1 404"),
                "{path}"
            );
        }
    }

    #[test]
    fn secrets_are_hidden_at_any_depth() {
        let mut value = json!({
            "ports": [{"tls": {"chain_pem": "shown", "key_pem": "hidden-1"}}],
            "policies": [{"BasicAuth": {"passwords": ["hidden-2"]}}, {"clientSecret": {"a": "hidden-3"}}],
        });

        redact(&mut value);

        let text = value.to_string();
        assert!(
            text.contains("shown") && !text.contains("hidden-"),
            "{text}"
        );
    }
}
