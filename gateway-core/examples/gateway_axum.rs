//! A gateway inside an axum service. Requests for `/users` are proxied to another server. The service handles
//! all other requests.
//!
//! ```text
//! cargo run -p towergate-core --example gateway_axum -- 127.0.0.1:9000
//! curl http://127.0.0.1:3000/users/7
//! curl http://127.0.0.1:3000/
//! ```

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::Extensions;
use tokio::net::TcpListener;
use tower_layer::Layer;
use towergate_core::conn::ConnInfo;
use towergate_core::gateway::{Gateway, Options};
use towergate_core::plan::{BackendId, Endpoints, PathMatch, Plan, Route, Rule};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let users = std::env::args().nth(1).ok_or("where are the users?")?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve_on(listener, users.parse()?).await
}

pub(crate) async fn serve_on(
    listener: TcpListener,
    users: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let gateway = Gateway::new(Options::default());
    let id = BackendId::service("shop", "users", 80);
    let rule = Rule::new(PathMatch::Prefix("/users".to_owned())).to(&id);
    let route = Route::new("shop", "users", vec![rule]);
    gateway.set_endpoints(&Endpoints::from([(id, vec![users.into()])]));
    let plan: Plan = Plan::http("shop", "edge", 80, vec![route]);
    gateway.apply(&plan)?; // May be called again, from any thread.

    let connection = |extensions: &Extensions| {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(ConnInfo::from(*peer).into())
    };
    let own = Router::new().route("/", get(|| async { "our own\n" }));
    let both = gateway.layer(80).with_connection(connection).layer(own);
    // The gateway is outside axum's routing, so that routes match sanitized paths.
    let app = Router::new().fallback_service(both);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, service).await?)
}
