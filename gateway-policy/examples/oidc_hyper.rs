//! A login at an OpenID provider in front of a hyper service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example oidc_hyper -- http://127.0.0.1:8080 CLIENT-ID CLIENT-SECRET
//! ```
//!
//! Open <http://localhost:3000/> in a browser. The redirect URL for the provider is
//! `http://localhost:3000/oauth2/callback`. The `ProviderClient` of this example uses plain HTTP. For a
//! provider with `https`, implement `ProviderClient` with the HTTP client of your program.

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
    let app = oidc::layer(rule)?.layer(service_fn(hello));
    loop {
        let (stream, peer) = socket.accept().await?;
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn hello(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(oidc::greeting(request.headers()).into()))
}
