//! An axum service that has moved to another host, but for its health check.
//!
//! ```text
//! cargo run -p towergate-core --example redirect_axum
//! curl -i 'http://127.0.0.1:3000/old/page?q=1'
//! curl -i http://127.0.0.1:3000/health
//! ```

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use towergate_core::filter::{PathEdit, Redirect, RedirectLayer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(listener: TcpListener) -> std::io::Result<()> {
    let moved = Redirect {
        scheme: Some("https".to_owned()),
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: Some(PathEdit::Prefix("/archive".to_owned())),
        status: 308,
    };
    let app = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .fallback(|| async { "not moved\n" })
        .layer(RedirectLayer::new(moved).below("/old"));

    axum::serve(listener, app).await
}
