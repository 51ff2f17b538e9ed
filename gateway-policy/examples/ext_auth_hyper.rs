//! External authorization as a Layer of a hyper service: a service at a fixed address decides on each request.
//! Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example ext_auth_hyper -- 127.0.0.1:4180
//! curl -i -H 'Authorization: Bearer good' http://127.0.0.1:3000/
//! ```
//!
//! The argument is the address of a forward-auth service, such as oauth2-proxy. Status 200 allows a
//! request; the response field `x-user` names the user.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::Body;

mod ext_auth;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).ok_or("missing argument: address")?;
    serve(service.parse()?, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(service: SocketAddr, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = ext_auth::layer(service).layer(service_fn(hello));
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
    Ok(Response::new(ext_auth::greeting(request.headers()).into()))
}
