//! A local rate limit, and policies of Envoy Gateway, as Layers of a hyper service. Needs no gateway and
//! no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example limits_hyper -- policies
//! for i in 1 2 3; do curl -i -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/; done
//! ```
//!
//! The argument is `rate-limit` or `policies`.

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use towergate_core::conn::{ConnectionAddrs, ConnectionAddrsLayer};
use towergate_core::http::SanitizeLayer;
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::policy::HeadPolicyLayer;

mod limits;

/// A service for hyper, with its type erased.
type App = BoxCloneService<Request<Incoming>, Response<Full<Bytes>>, Infallible>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args()
        .nth(1)
        .ok_or("missing argument: rate-limit or policies")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = match part {
        "rate-limit" => rate_limit(),
        "policies" => policies()?,
        _ => return Err(format!("unknown example {part:?}; use rate-limit or policies").into()),
    };
    loop {
        let (stream, peer) = socket.accept().await?;
        let ends = ConnectionAddrsLayer(ConnectionAddrs::of_tcp(peer, stream.local_addr()?));
        let service = TowerToHyperService::new(ends.layer(app.clone()));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// A local rate limit. The client address is that of the peer.
fn rate_limit() -> App {
    let parts = (
        ClientIpLayer::new(ClientIpRule::Peer),
        HeadPolicyLayer::new(limits::from_values().limiter()),
    );
    parts.layer(service_fn(hello)).boxed_clone()
}

/// The settings of a ClientTrafficPolicy and a BackendTrafficPolicy.
fn policies() -> Result<App, Box<dyn Error>> {
    let (settings, limit) = limits::from_specs()?;
    let parts = (
        ClientIpLayer::new(settings.client_ip.clone()),
        SanitizeLayer::new(settings),
        HeadPolicyLayer::new(limit.limiter()),
    );
    Ok(parts.layer(service_fn(hello)).boxed_clone())
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let client = request.extensions().get::<ClientIp>();
    let name = client.map_or("you".to_owned(), |client| client.0.to_string());
    Ok(Response::new(format!("hello, {name}\n").into()))
}
