//! Health and metrics over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::serve::{Publisher, Reports};

/// The state of the handlers.
#[derive(Clone)]
struct PageState {
    metrics: Arc<Metrics>,
    reports: watch::Receiver<Arc<Reports>>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` on `address`. Returns the bound address.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    publisher: &Publisher,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
        .with_state(PageState {
            metrics,
            reports: publisher.reports(),
        });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "admin endpoints stopped");
        }
    });
    Ok(bound)
}

/// Returns 200 after all kinds have been listed and the first plans published.
async fn ready(State(shown): State<PageState>) -> impl IntoResponse {
    match shown.metrics.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn page(State(shown): State<PageState>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        towergate_core::prometheus::CONTENT_TYPE,
    )];
    let reports = Arc::clone(&shown.reports.borrow());
    (kind, shown.metrics.render(&reports))
}
