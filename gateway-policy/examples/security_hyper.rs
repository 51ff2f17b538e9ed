//! SecurityPolicies of Envoy Gateway as a Layer of a hyper service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example security_hyper -- basic-auth
//! curl -u alice:wonderland http://127.0.0.1:3000/
//! ```
//!
//! The argument is `basic-auth`, `api-key`, `jwt`, `authorization`, `cors` or `csrf`.

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::Body;
use towergate_core::conn::{ConnectionAddrs, ConnectionAddrsLayer};
use towergate_core::http::client_ip::{ClientIpLayer, ClientIpRule};

mod security;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let section = std::env::args()
        .nth(1)
        .ok_or("missing argument: a section")?;
    serve(&section, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(section: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let layers = (
        ClientIpLayer::new(ClientIpRule::Peer),
        security::layer(section)?,
    );
    let app = layers.layer(service_fn(hello));
    loop {
        let (stream, peer) = socket.accept().await?;
        let addresses = ConnectionAddrsLayer(ConnectionAddrs::of_tcp(peer, stream.local_addr()?));
        let service = TowerToHyperService::new(addresses.layer(app.clone()));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn hello(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(security::greeting(request.headers()).into()))
}
