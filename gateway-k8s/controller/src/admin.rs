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

/// What the pages show.
#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    reports: watch::Receiver<Arc<Reports>>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` at `address`; gives back the address that is bound.
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
        .with_state(Shown {
            metrics,
            reports: publisher.reports(),
        });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin page ended");
        }
    });
    Ok(bound)
}

/// Ready is who knows everything and has published it.
async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.metrics.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn page(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        towergate_core::prometheus::CONTENT_TYPE,
    )];
    let reports = Arc::clone(&shown.reports.borrow());
    (kind, shown.metrics.render(&reports))
}
