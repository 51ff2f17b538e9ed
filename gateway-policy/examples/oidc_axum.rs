//! A login at an OpenID provider in front of an axum service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example oidc_axum -- http://127.0.0.1:8080 CLIENT-ID CLIENT-SECRET
//! ```
//!
//! Open <http://localhost:3000/> in a browser. The redirect URL for the provider is
//! `http://localhost:3000/oauth2/callback`. The `ProviderClient` of this example uses plain HTTP. For a
//! provider with `https`, implement `ProviderClient` with the HTTP client of your program.

use std::error::Error;

use axum::Router;
use axum::routing::get;
use http::HeaderMap;
use tokio::net::TcpListener;
use tower_layer::Layer;
use towergate_policy::oidc::OidcAuthentication;

mod oidc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let rule = oidc::rule_of_arguments()?;
    serve(rule, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(
    rule: OidcAuthentication,
    socket: TcpListener,
) -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/", get(hello));
    // The callback is not a route of the service, so the Layer must be outside the router.
    let app = Router::new().fallback_service(oidc::layer(rule)?.layer(app));
    Ok(axum::serve(socket, app).await?)
}

async fn hello(headers: HeaderMap) -> String {
    oidc::greeting(&headers)
}
