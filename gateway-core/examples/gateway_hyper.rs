//! A gateway inside a hyper service. Requests for `/users` are proxied to another server. The service handles
//! all other requests.
//!
//! ```text
//! cargo run -p towergate-core --example gateway_hyper -- 127.0.0.1:9000
//! curl http://127.0.0.1:3000/users/7
//! curl http://127.0.0.1:3000/
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::Body;
use towergate_core::conn::{ConnectionAddrs, ConnectionAddrsLayer};
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

    let own = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Body::from("our own\n")))
    });
    let both = gateway.layer(80).layer(own);
    loop {
        let (stream, peer) = listener.accept().await?;
        let ends = ConnectionAddrsLayer(ConnectionAddrs::of_tcp(peer, stream.local_addr()?));
        let service = TowerToHyperService::new(ends.layer(both.clone()));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.with_upgrades().await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
