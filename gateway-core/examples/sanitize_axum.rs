//! An axum service that only sees requests with one host, one framing and one spelling of the path.
//!
//! ```text
//! cargo run -p towergate-core --example sanitize_axum
//! curl -i --path-as-is http://127.0.0.1:3000/a/../hello
//! curl -i http://127.0.0.1:3000/hello -H 'Host: a.test, b.test'
//! ```

use axum::extract::Request;
use axum::routing::get;
use axum::{Extension, Router, ServiceExt};
use tokio::net::TcpListener;
use tower_layer::Layer;
use towergate_core::http::{SanitizeLayer, Sanitized};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new().route("/hello", get(hello));
    // In front of the router, which would otherwise see the path as the client spelled it.
    let app = SanitizeLayer::default().layer(router);

    axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
}

async fn hello(Extension(clean): Extension<Sanitized>) -> String {
    format!("You asked {}.\n", clean.authority.host())
}
